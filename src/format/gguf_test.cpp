#include "format/gguf.h"

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>

#include "format/gguf_harness.h"
#include "format/new_file.h"
#include "tests/shared_data.h"

namespace kvasir::format {
namespace {

using File = GgufBuilder;
constexpr std::uint32_t kF32 = 0, kQ8_0 = 8;

Result<Gguf> parse_as_gguf(const std::string& bytes) {
  return parse_gguf("f.gguf", std::as_bytes(std::span(bytes)));
}

TEST(Gguf, GivesCheckedViews) {
  for (const std::uint32_t version : {2u, 3u}) {
    File file;
    file.version = version;
    file.string("general.architecture", "llama").number("n", 7u).number("x", 0.5f).boolean("yes", true);
    file.key("minus", GgufType::kInt64, File::raw<std::int64_t>(-3)).strings("words", {"a", "", "bc"});
    file.array<std::int32_t>("ids", GgufType::kInt32, {1, -2});
    file.key("nested", GgufType::kArray,
             File::raw(GgufType::kArray) + File::raw<std::uint64_t>(1) + File::raw(GgufType::kBool) +
                 File::raw<std::uint64_t>(2) + std::string("\0\1", 2));
    file.tensor("a", {3, 2}, kF32, 64).tensor("b", {64}, kQ8_0, 96);
    const std::string bytes = file.build(164);
    const auto gguf = parse_as_gguf(bytes);
    ASSERT_TRUE(gguf.ok()) << gguf.status().message();
    const GgufMetadata& metadata = gguf->metadata;
    EXPECT_EQ(*metadata.text("general.architecture"), "llama");
    EXPECT_EQ(*metadata.integer("n", 0, 7), 7);
    EXPECT_EQ(*metadata.integer("minus", -3, 0), -3);
    EXPECT_EQ(*metadata.number("x"), 0.5);
    EXPECT_EQ(*metadata.number("n"), 7);
    EXPECT_TRUE(*metadata.boolean("yes"));
    EXPECT_EQ(*metadata.texts("words"), (std::vector<std::string_view>{"a", "", "bc"}));
    EXPECT_EQ(*metadata.numbers("ids"), (std::vector<double>{1, -2}));
    EXPECT_TRUE(metadata.has_array("nested"));
    EXPECT_EQ(*metadata.integer("absent", 0, 1, 42), 42);
    EXPECT_EQ(metadata.integer("n", 0, 6).status().message(),
              "f.gguf: key 'n': expected an integer from 0 to 6, got 7");
    EXPECT_EQ(metadata.text("absent").status().message(),
              "f.gguf: key 'absent': expected a text, but it is missing");
    EXPECT_FALSE(metadata.integer("x", 0, 1).ok());
    EXPECT_FALSE(metadata.numbers("words").ok());
    EXPECT_FALSE(metadata.texts("ids").ok());
    const TensorInfo& a = gguf->tensors.at("a");
    EXPECT_EQ(a.shape, (std::vector<std::int64_t>{2, 3}));
    EXPECT_EQ(a.dtype, TensorDtype::kF32);
    EXPECT_EQ(a.data.size(), 24u);
    EXPECT_EQ(reinterpret_cast<const char*>(a.data.data()), bytes.data() + bytes.size() - 164 + 64);
    EXPECT_EQ(gguf->tensors.at("b").dtype_name, "Q8_0");
    EXPECT_EQ(gguf->tensors.at("b").data.size(), 68u);
  }
}

struct Broken {
  std::string bytes, expected;  // part of the message
};

std::vector<Broken> broken_headers() {
  const auto header = [](std::uint32_t version, std::uint64_t tensors, std::uint64_t keys) {
    return "GGUF" + File::raw(version) + File::raw(tensors) + File::raw(keys);
  };
  return {
      {"", "magic: expected 4 bytes at byte 0, but the file has 0"},
      {"GGU", "magic: expected 4 bytes"},
      {"GGML" + header(3, 0, 0).substr(4), "expected a file that begins with 'GGUF'"},
      {"GGUF", "version: expected 4 bytes"},
      {header(3, 0, 0).substr(0, 12), "number of tensors: expected 8 bytes"},
      {header(3, 0, 0).substr(0, 20), "number of keys: expected 8 bytes"},
      {header(0, 0, 0), "version 0 is not supported"},
      {header(1, 0, 0), "GGUF version 1 is not supported; expected 2 or 3"},
      {header(4, 0, 0), "GGUF version 4 is not supported"},
      {header(0xFFFFFFFF, 0, 0), "version 4294967295 is not supported"},
      {header(0x03000000, 0, 0), "big-endian GGUF version 3 is not supported"},
      {header(0x02000000, 0, 0), "big-endian GGUF version 2 is not supported"},
      {header(3, 65537, 0), "expected at most 65536 tensors, got 65537"},
      {header(3, ~std::uint64_t{0}, 0), "expected at most 65536 tensors"},
      {header(3, 0, 65537), "expected at most 65536 keys, got 65537"},
      {header(3, 0, std::uint64_t{1} << 63), "expected at most 65536 keys"},
      {header(3, 0, 1), "key 1 of 1: expected 8 bytes"},
      {header(3, 1, 0), "tensor 1 of 1: expected 8 bytes"},
  };
}

std::vector<Broken> broken_keys() {
  const auto with = [](GgufType type, const std::string& value) { return File().key("k", type, value); };
  const auto cut = [](const File& file, std::size_t bytes) {
    const std::string all = file.build(0, 1);
    return all.substr(0, all.size() - bytes);
  };
  const auto array = [](std::uint32_t type, std::uint64_t size, const std::string& rest) {
    return File::raw(type) + File::raw(size) + rest;
  };
  const std::string one_array = array(9, 1, "");
  const std::uint64_t huge = ~std::uint64_t{0};
  std::vector<Broken> cases = {
      {File().key("k", static_cast<GgufType>(13), "").build(),
       "key 'k': expected a type from 0 to 12, got 13"},
      {File().key("k", static_cast<GgufType>(huge), "").build(), "expected a type from 0 to 12"},
      {File().number("", 1u).build(), "key 1: expected a name"},
      {File().number("k", 1u).number("k", 1u).build(), "key 'k' occurs twice"},
      {File().number("k", 1u).string("k", "x").build(), "key 'k' occurs twice"},
      {File().number(std::string(65536, 'k'), 1u).build(),
       "a text of at most 65535 bytes, got a length of 65536"},
      {"GGUF" + File::raw(3) + File::raw<std::uint64_t>(0) + File::raw<std::uint64_t>(1) + File::raw(huge),
       "key 1 of 1: expected a text of at most 65535 bytes, got a length of 18446744073709551615"},
      {"GGUF" + File::raw(3) + File::raw<std::uint64_t>(0) + File::raw<std::uint64_t>(1) + File::raw(9ull) +
           "k",
       "key 1 of 1: expected 9 bytes"},
      {cut(with(GgufType::kUint8, ""), 0), "key 'k': expected 1 bytes"},
      {cut(with(GgufType::kUint16, "1"), 0), "key 'k': expected 2 bytes"},
      {cut(File().number("k", 1u), 1), "key 'k': expected 4 bytes"},
      {cut(File().number("k", 1u), 5), "key 'k': expected 4 bytes"},
      {cut(with(GgufType::kFloat64, "1234567"), 0), "key 'k': expected 8 bytes"},
      {with(GgufType::kBool, "\2").build(), "key 'k': expected a boolean of 0 or 1, got 2"},
      {with(GgufType::kString, File::raw(huge)).build(), "key 'k': expected a text of at most"},
      {with(GgufType::kString, File::raw(std::uint64_t{1} << 40)).build(), "got a length of 1099511627776"},
      {cut(File().string("k", "word"), 1), "key 'k': expected 4 bytes at byte 45"},
      {cut(with(GgufType::kString, "1234"), 0), "key 'k': expected 8 bytes"},
      {cut(with(GgufType::kArray, ""), 0), "key 'k': expected 4 bytes"},
      {cut(with(GgufType::kArray, File::raw(4u)), 0), "key 'k': expected 8 bytes"},
      {with(GgufType::kArray, array(13, 0, "")).build(), "key 'k': expected a type from 0 to 12, got 13"},
      {with(GgufType::kArray, array(0, huge, "")).build(), "claims 18446744073709551615 elements"},
      {with(GgufType::kArray, array(10, std::uint64_t{1} << 61, "")).build(), "claims 2305843009213693952"},
      {with(GgufType::kArray, array(8, std::uint64_t{1} << 32, "")).build(), "claims 4294967296 elements"},
      {with(GgufType::kArray, array(9, std::uint64_t{1} << 60, "")).build(), "elements of at least 12 bytes"},
      {cut(with(GgufType::kArray, array(4, 2, "1234567")), 0), "claims 2 elements"},
      {with(GgufType::kArray, array(7, 3, std::string("\0\1\2", 3))).build(), "boolean of 0 or 1, got 2"},
      {with(GgufType::kArray, array(8, 2, File::text("a") + File::raw(huge))).build(),
       "key 'k': expected a text"},
      {cut(with(GgufType::kArray, array(8, 2, File::text("12345678"))), 0), "key 'k': expected 8 bytes"},
      {with(GgufType::kArray, one_array + one_array + one_array + one_array + one_array + array(0, 0, ""))
           .build(),
       "nested deeper than 4 levels"},
      {File().number("general.alignment", 0u).build(),
       "key 'general.alignment': expected an integer from 8 to 1048576, got 0"},
      {File().number("general.alignment", 4u).build(), "from 8 to 1048576, got 4"},
      {File().number("general.alignment", 24u).build(), "expected a power of two, got 24"},
      {File().number("general.alignment", 0x80000000u).build(), "got 2147483648"},
      {File().string("general.alignment", "32").build(), "got the text '32'"},
      {File().number("general.alignment", 32.0f).build(), "expected an integer from 8 to 1048576"},
      {File().key("general.alignment", GgufType::kInt32, File::raw(-32)).build(), "got -32"},
  };
  std::string deep;
  for (int i = 0; i < 100'000; ++i) deep += one_array;
  cases.push_back({with(GgufType::kArray, deep).build(), "nested deeper than 4 levels"});
  return cases;
}

std::vector<Broken> broken_tensors() {
  const std::uint64_t huge = ~std::uint64_t{0}, big = std::uint64_t{1} << 32;
  const auto one = [](const std::vector<std::uint64_t>& shape, std::uint32_t type, std::uint64_t offset) {
    return File().tensor("t", shape, type, offset).build(64);
  };
  const auto cut = [](std::size_t bytes) {
    const std::string all = File().tensor("t", {4, 2}, kF32, 0).build(0, 1);
    return all.substr(0, all.size() - bytes);
  };
  File aligned;
  aligned.number("general.alignment", 64u).tensor("t", {8}, kF32, 32);
  File short_of_tensors = File().tensor("t", {8}, kF32, 0);
  short_of_tensors.extra_tensors = 1;
  return {
      {File().tensor("", {8}, kF32, 0).build(64), "tensor 1 of 1: expected a name"},
      {File().tensor(std::string(128, 't'), {8}, kF32, 0).build(64), "a text of at most 127 bytes"},
      {one({}, kF32, 0), "tensor 't': expected 1 to 4 dimensions, got 0"},
      {one({1, 1, 1, 1, 1}, kF32, 0), "expected 1 to 4 dimensions, got 5"},
      {one({0}, kF32, 0), "tensor 't': shape: expected counts from 1"},
      {one({4, 0}, kF32, 0), "got 0 as dimension 1"},
      {one({huge}, kF32, 0), "got 18446744073709551615 as dimension 0"},
      {one({big, big}, kF32, 0), "whose product is a size"},
      {one({big, std::uint64_t{1} << 30}, kF32, 0), "beyond 64 bits"},
      {one({32, std::uint64_t{1} << 58}, kQ8_0, 0), "expected 9799832789158199296 bytes at byte 0"},
      {one({8}, 4, 0), "tensor 't': type 4 is not known"},
      {one({8}, 99, 0), "type 99 is not known"},
      {one({8}, 0xFFFFFFFF, 0), "type 4294967295 is not known"},
      {one({31}, kQ8_0, 0), "expected rows of a multiple of 32 weights for Q8_0, got 31"},
      {one({128, 2}, 12, 0), "expected rows of a multiple of 256 weights for Q4_K, got 128"},
      {one({8}, kF32, 1), "offset: expected a multiple of 32, got 1"},
      {aligned.build(64, 64), "offset: expected a multiple of 64, got 32"},
      {one({8}, kF32, 64), "expected 32 bytes at byte 64 of the data, but the file has 64 bytes of it"},
      {one({8}, kF32, huge - 31), "of the data, but the file has 64"},
      {one({17}, kF32, 0), "expected 68 bytes at byte 0 of the data"},
      {File().tensor("t", {8}, kF32, 0).build(0, 1), "but the file has 0 bytes of it"},
      {File().tensor("t", {9}, kF32, 0).tensor("u", {8}, kF32, 32).build(96),
       "begins at byte 32 of the data, inside 't'"},
      {File().tensor("t", {8}, kF32, 0).tensor("u", {8}, kF32, 0).build(96), "inside"},
      {File().tensor("t", {8}, kF32, 0).tensor("t", {8}, kF32, 32).build(96), "tensor 't' occurs twice"},
      {short_of_tensors.build(0, 1), "tensor 2 of 2: expected 8 bytes"},
      {cut(1), "tensor 't': offset: expected 8 bytes"},
      {cut(9), "tensor 't': type: expected 4 bytes"},
      {cut(13), "tensor 't': shape: expected 8 bytes"},
      {cut(21), "tensor 't': shape: expected 8 bytes"},
      {cut(29), "tensor 't': number of dimensions: expected 4 bytes"},
      {cut(33), "tensor 1 of 1: expected 1 bytes"},
      {cut(34), "tensor 1 of 1: expected 8 bytes"},
      {File().tensor("\na\x7f", {8}, 77, 0).build(), "tensor '?a?': type 77"},
  };
}

std::int64_t peak_memory_kib() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  return used.ru_maxrss;
}

TEST(Gguf, RefusesBrokenFilesInOneLineAndAtOnce) {
  std::size_t num_cases = 0;
  const std::int64_t memory_before = peak_memory_kib();
  for (const auto& cases : {broken_headers(), broken_keys(), broken_tensors()}) {
    num_cases += cases.size();
    for (const Broken& broken : cases) {
      const auto begin = std::chrono::steady_clock::now();
      const auto gguf = parse_as_gguf(broken.bytes);
      EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(2)) << broken.expected;
      ASSERT_FALSE(gguf.ok()) << broken.expected;
      const std::string message = gguf.status().message();
      EXPECT_TRUE(gguf.status().code() == StatusCode::kCorrupt ||
                  gguf.status().code() == StatusCode::kUnsupported);
      EXPECT_TRUE(message.starts_with("f.gguf: ")) << message;
      EXPECT_NE(message.find(broken.expected), std::string::npos) << message << "\n" << broken.expected;
      EXPECT_EQ(message.find('\n'), std::string::npos) << message;
    }
  }
  EXPECT_GE(num_cases, 60u);
  // A wrong count that was believed would take gigabytes.
  EXPECT_LT(peak_memory_kib() - memory_before, 200 << 10);
}

// Whatever is missing at the end, there is a message and no crash.
TEST(Gguf, RefusesAFileCutAnywhere) {
  File file;
  file.string("general.architecture", "llama").strings("words", {"a", "bc"});
  file.array<std::int32_t>("ids", GgufType::kInt32, {1, -2}).tensor("t", {8}, kF32, 0);
  const std::string whole = file.build(32);
  ASSERT_TRUE(parse_as_gguf(whole).ok());
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(parse_as_gguf(whole.substr(0, size)).ok()) << size;
  }
}

// The files of a split model, in memory.
Result<Gguf> read_parts(const std::string& first, const std::map<std::string, std::string>& files) {
  const auto read = [&](const std::string& file) -> Result<std::span<const std::byte>> {
    const auto found = files.find(file);
    if (found == files.end()) return Status(StatusCode::kNotFound, "there is no " + file);
    return std::as_bytes(std::span(found->second));
  };
  return read_gguf("dir/" + first, std::as_bytes(std::span(files.at(first))), read);
}

std::string part(std::uint16_t number, std::uint16_t count, const std::string& tensor,
                 std::int32_t num_tensors = 2) {
  File file;
  if (number == 0) file.string("general.architecture", "llama");
  file.key("split.no", GgufType::kUint16, File::raw(number));
  file.key("split.count", GgufType::kUint16, File::raw(count));
  file.key("split.tensors.count", GgufType::kInt32, File::raw(num_tensors));
  if (!tensor.empty()) file.tensor(tensor, {8}, kF32, 0);
  return file.build(32);
}

TEST(SplitGguf, IsOneModelWhicheverPartIsNamed) {
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  const std::map<std::string, std::string> files = {{first, part(0, 2, "a")}, {second, part(1, 2, "b")}};
  for (const std::string& given : {first, second}) {
    const auto gguf = read_parts(given, files);
    ASSERT_TRUE(gguf.ok()) << gguf.status().message();
    EXPECT_EQ(*gguf->metadata.text("general.architecture"), "llama");
    EXPECT_EQ(gguf->metadata.file(), "dir/" + first);
    EXPECT_EQ(gguf->tensors.size(), 2u);
    EXPECT_EQ(gguf->tensors.at("b").file, "dir/" + second);
  }
}

TEST(SplitGguf, RefusesPartsThatDoNotFit) {
  const std::string first = "m-00001-of-00002.gguf", second = "m-00002-of-00002.gguf";
  const std::pair<std::map<std::string, std::string>, const char*> cases[] = {
      {{{first, part(0, 2, "a")}}, "there is no m-00002-of-00002.gguf"},
      {{{first, part(0, 2, "a")}, {second, part(0, 2, "b")}}, "key 'split.no': expected 1, got 0"},
      {{{first, part(0, 2, "a")}, {second, part(1, 3, "b")}}, "key 'split.count': expected 2, got 3"},
      {{{first, part(0, 2, "a")}, {second, part(1, 2, "a")}}, "tensor 'a' is in an earlier part too"},
      {{{first, part(0, 2, "a")}, {second, part(1, 2, "")}}, "have 1 tensors, expected 2"},
      {{{first, part(0, 2, "a", 3)}, {second, part(1, 2, "b")}}, "have 2 tensors, expected 3"},
      {{{first, part(0, 2, "a")}, {second, File().build()}}, "'split.count': expected an integer"},
      {{{first, part(0, 2, "a")}, {second, "GGUF"}}, "dir/m-00002-of-00002.gguf: version"},
      {{{first, part(1, 2, "a")}, {second, part(0, 2, "b")}}, "is part 2 of 2: expected a name that ends in"},
      {{{first, part(5, 2, "a")}}, "'split.no': expected an integer from 0 to 1, got 5"},
      {{{first, part(0, 65535, "a")}}, "'split.count': expected an integer from 0 to 9999, got 65535"},
      {{{first, part(0, 9999, "a")}}, "expected a name that ends in -00001-of-09999.gguf"},
  };
  for (const auto& [files, expected] : cases) {
    const auto gguf = read_parts(first, files);
    ASSERT_FALSE(gguf.ok()) << expected;
    EXPECT_NE(gguf.status().message().find(expected), std::string::npos) << gguf.status().message();
  }
}

TEST(NewFile, IsThereWholeOrNotAtAll) {
  const std::string path = fmt::format("{}kvasir-new-{}.gguf", ::testing::TempDir(), getpid());
  const std::string part = path + ".part";
  const auto content = [&] {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  };
  // What a process that was killed has left is no obstacle.
  std::ofstream(part) << "longer than what comes";
  {
    auto file = NewFile::create(path, false);
    ASSERT_TRUE(file.ok()) << file.status().message();
    ASSERT_TRUE(file->write("new", 3).ok());
    EXPECT_EQ(file->size(), 3u);
    EXPECT_EQ(NewFile::create(path, true).status().message(), path + ": another process is writing it");
    EXPECT_FALSE(std::filesystem::exists(path));
    ASSERT_TRUE(file->publish().ok());
  }
  EXPECT_EQ(content(), "new");
  EXPECT_EQ(NewFile::create(path, false).status().message(), path + ": exists already; --force replaces it");
  ASSERT_TRUE(NewFile::create(path, true)->write("x", 1).ok());  // not published
  EXPECT_EQ(content(), "new");
  EXPECT_FALSE(std::filesystem::exists(part));
  std::filesystem::remove(path);

  EXPECT_FALSE(NewFile::create(::testing::TempDir(), true).ok());
  std::filesystem::create_symlink("nowhere", path);
  EXPECT_FALSE(NewFile::create(path, false).ok());
  std::filesystem::remove(path);
}

}  // namespace
}  // namespace kvasir::format
