#include "format/safetensors.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "tests/shared_data.h"

namespace kvasir::format {
namespace {

// A file: the header's size, the header, data.
std::string file(const std::string& header, std::size_t data_bytes, std::uint64_t header_bytes) {
  std::string text;
  for (int i = 0; i < 8; ++i) text += static_cast<char>(header_bytes >> (8 * i));
  return text + header + std::string(data_bytes, '\x01');
}
std::string file(const std::string& header, std::size_t data_bytes) {
  return file(header, data_bytes, header.size());
}

Result<TensorMap> parse_as_safetensors(const std::string& bytes) {
  return parse_safetensors("f.safetensors", std::as_bytes(std::span(bytes)));
}

TEST(Safetensors, GivesCheckedViews) {
  const std::string bytes = file(
      R"({"__metadata__":{"a":"b"},"x":{"dtype":"F32","shape":[2,3],"data_offsets":[4,28]},)"
      R"("y":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]},"z":{"dtype":"F8_E4M3","shape":[0],"data_offsets":[28,28]}})",
      28);
  const auto tensors = parse_as_safetensors(bytes);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->size(), 3u);
  const TensorInfo& x = tensors->at("x");
  EXPECT_EQ(x.dtype, TensorDtype::kF32);
  EXPECT_EQ(x.shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(x.data.size(), 24u);
  EXPECT_EQ(reinterpret_cast<const char*>(x.data.data()), bytes.data() + bytes.size() - 24);
  EXPECT_EQ(tensors->at("y").dtype, TensorDtype::kBf16);
  EXPECT_EQ(tensors->at("z").dtype, TensorDtype::kOther);
  EXPECT_TRUE(parse_as_safetensors(file("{}", 0)).ok());
}

TEST(Safetensors, RefusesBrokenFilesInOneLine) {
  const auto entry = [](const std::string& fields) { return "{\"x\":{" + fields + "}}"; };
  const std::string good = R"("dtype":"F32","shape":[2],"data_offsets":[0,8])";
  ASSERT_TRUE(parse_as_safetensors(file(entry(good), 8)).ok());
  struct Case {
    std::string bytes, expected;  // part of the message
  };
  const Case cases[] = {
      {"", "got 0 bytes"},
      {"1234567", "got 7 bytes"},
      {file("", 0, 1), "claims 1 bytes"},
      {file("{}", 0, 3), "claims 3 bytes"},
      {file("{}", 0, ~std::uint64_t{0}), "claims 18446744073709551615"},
      {file("{}", 0, std::uint64_t{1} << 63), "claims"},
      {file("", 0), "not valid JSON"},
      {file("{", 0), "not valid JSON"},
      {file("{\"x\":\xff}", 0), "not valid JSON"},
      {file("[]", 0), "expected a JSON object, got array"},
      {file("null", 0), "expected a JSON object, got null"},
      {file(std::string(100, '[') + std::string(100, ']'), 0), "nested"},
      {file("{\"x\":1}", 0), "'x': expected an object"},
      {file("{\"x\":{}}", 0), "dtype, shape and data_offsets"},
      {file(entry(R"("dtype":"F32","shape":[2])"), 8), "dtype, shape and data_offsets"},
      {file(entry(R"("dtype":4,"shape":[2],"data_offsets":[0,8])"), 8), "dtype: expected a string"},
      {file(entry(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])"), 8), "unknown dtype 'F33'"},
      {file(entry(R"("dtype":"F32","shape":2,"data_offsets":[0,8])"), 8), "shape: expected an array"},
      {file(entry(R"("dtype":"F32","shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,2],"data_offsets":[0,8])"), 8),
       "shape"},
      {file(entry(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])"), 8), "shape [-2]"},
      {file(entry(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])"), 8), "shape [2.0]"},
      {file(entry(R"("dtype":"F32","shape":["2"],"data_offsets":[0,8])"), 8), "expected counts"},
      {file(entry(R"("dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,8])"), 8),
       "whose product"},
      {file(entry(R"("dtype":"F32","shape":[18446744073709551615],"data_offsets":[0,8])"), 8),
       "expected counts"},
      {file(entry(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])"), 8),
       "has 8 bytes, but F32 of shape [3] takes 12"},
      {file(entry(R"("dtype":"F32","shape":[1],"data_offsets":[0,8])"), 8), "has 8 bytes"},
      {file(entry(R"("dtype":"F16","shape":[2],"data_offsets":[0,8])"), 8), "has 8 bytes"},
      {file(entry(R"("dtype":"F4","shape":[1],"data_offsets":[0,0])"), 0), "has 0 bytes"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":8)"), 8),
       "data_offsets: expected [begin, end]"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0])"), 8),
       "data_offsets: expected [begin, end]"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,8,9])"), 8),
       "data_offsets: expected [begin, end]"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":[-8,0])"), 8),
       "data_offsets: expected [begin, end]"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])"), 8),
       "data_offsets: expected [begin, end]"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":[0,18446744073709551615])"), 8),
       "ends at byte"},
      {file(entry(good), 7), "ends at byte 8 of the data, but the file has 7"},
      {file(entry(good), 9), "1 bytes of data belong to no tensor"},
      {file(entry(R"("dtype":"F32","shape":[2],"data_offsets":[1,9])"), 9), "leaves a hole"},
      {file("{\"x\":{" + good + "},\"y\":{" + good + "}}", 8), "overlaps its neighbour"},
      {file("{\"x\":{" + good + R"(},"y":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})", 8), "overlaps"},
      {file("{\"x\":{" + good + R"(},"y":{"dtype":"F32","shape":[1],"data_offsets":[12,16]}})", 16),
       "leaves a hole"},
      {file("{\"x\":{" + good + R"(},"x":{"dtype":"F32","shape":[1],"data_offsets":[8,12]}})", 12),
       "leaves a hole"},
  };
  for (const Case& broken : cases) {
    const auto tensors = parse_as_safetensors(broken.bytes);
    ASSERT_FALSE(tensors.ok()) << broken.expected;
    const std::string message = tensors.status().message();
    EXPECT_EQ(tensors.status().code(), StatusCode::kCorrupt);
    EXPECT_TRUE(message.starts_with("f.safetensors")) << message;
    EXPECT_NE(message.find(broken.expected), std::string::npos) << message;
    EXPECT_EQ(message.find('\n'), std::string::npos) << message;
  }
}

// Files in memory under a name.
Result<TensorMap> read(const std::vector<std::pair<std::string, std::string>>& contents) {
  static std::vector<ModelFiles> kept;  // the views point into them
  std::vector<ModelFiles::MemoryFile> files;
  for (const auto& [name, text] : contents) files.push_back({name, std::as_bytes(std::span(text))});
  kept.push_back(ModelFiles::from_memory("m", files));
  return read_tensors(kept.back());
}

TEST(Shards, AreOneSetOfTensors) {
  const std::string a = file(R"({"x":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", 8);
  const std::string b = file(R"({"y":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})", 4);
  const std::string index = "model.safetensors.index.json";
  const auto tensors = read({{index, R"({"weight_map":{"x":"a.safetensors","y":"b.safetensors"}})"},
                             {"a.safetensors", a},
                             {"b.safetensors", b}});
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_EQ(tensors->size(), 2u);
  EXPECT_EQ(tensors->at("y").file, "m/b.safetensors");

  const std::pair<const char*, const char*> broken[] = {
      {"[]", "expected a JSON object"},
      {"{}", "weight_map: expected an object"},
      {R"({"weight_map":{}})", "weight_map: expected an object"},
      {R"({"weight_map":{"x":1}})", "expected a file name"},
      {R"({"weight_map":{"x":"c.safetensors"}})", "m/c.safetensors: there is no such file"},
      {R"({"weight_map":{"x":"../a.safetensors"}})", "expected the name of a file in this folder"},
      {R"({"weight_map":{"x":"/etc/passwd"}})", "expected the name of a file in this folder"},
      {R"({"weight_map":{"y":"a.safetensors"}})", "tensor 'y' is not in a.safetensors"},
  };
  for (const auto& [text, expected] : broken) {
    const auto result = read({{index, text}, {"a.safetensors", a}, {"b.safetensors", b}});
    ASSERT_FALSE(result.ok()) << text;
    EXPECT_NE(result.status().message().find(expected), std::string::npos) << result.status().message();
  }
  EXPECT_EQ(read({}).status().message(), "m/model.safetensors: there is no such file");
}

TEST(ModelFiles, FromAFolderAreThoseFromMemory) {
  const auto folder = kvasir::testing::test_data_dir() / "models/llama-bf16-sharded";
  auto on_disk = ModelFiles::open(folder.string());
  ASSERT_TRUE(on_disk.ok());
  const auto tensors = read_tensors(*on_disk);
  ASSERT_TRUE(tensors.ok()) << tensors.status().message();
  EXPECT_GT(tensors->size(), 10u);
  EXPECT_TRUE(on_disk->has("config.json"));
  EXPECT_FALSE(on_disk->has("../llama-bf16-sharded/config.json"));
  EXPECT_FALSE(ModelFiles::open((folder / "config.json").string()).ok());
  EXPECT_FALSE(ModelFiles::open("/nonexistent").ok());
}

}  // namespace
}  // namespace kvasir::format
