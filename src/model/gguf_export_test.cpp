// GGUF files made from folders and files: the same model, or a refusal that names what the format cannot say.

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <tuple>

#include "format/gguf.h"
#include "format/gguf_harness.h"
#include "model/gguf_export.h"
#include "model/model_harness.h"
#include "tests/shared_data.h"

namespace kvasir::model {
namespace {

using nlohmann::json;

// The logits of a prompt in f32, of the last token; longer than the window of any model.
std::vector<float> logits_of(const Loaded& loaded) {
  constexpr int kNumTokens = 96;
  if (!loaded.model) return {};
  Blocks blocks(*loaded.model, kNumTokens, backend::KvDtype::kF32);
  std::vector<TokenId> tokens;
  for (int i = 0; i < kNumTokens; ++i) tokens.push_back(i * 37 % 96);
  return run(*loaded.model, blocks, tokens, 0, kNumTokens);
}

std::vector<float> logits_of(const std::filesystem::path& path) {
  return logits_of(load(path, WeightDtype::kF32));
}

// A folder's files in memory, with other values of some keys of config.json.
class ChangedFolder {
 public:
  ChangedFolder(const std::filesystem::path& folder, const json& changes) {
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      std::ifstream file(entry.path(), std::ios::binary);
      contents_[entry.path().filename().string()] = {std::istreambuf_iterator<char>(file), {}};
    }
    json config = json::parse(contents_["config.json"]);
    config.update(changes);
    set_config(config);
  }

  void set_config(const json& config) { set_file("config.json", config.dump()); }
  void set_file(const char* name, const std::string& content) { contents_[name] = content; }

  // Gives another beginning to the names of tensors that begin with `from`.
  void rename_tensors(std::string_view from, const std::string& to) {
    json renamed;
    const json entries = header();
    for (const auto& [name, entry] : entries.items()) {
      renamed[name.starts_with(from) ? to + name.substr(from.size()) : name] = entry;
    }
    set_header(renamed);
  }

  void add_tensor(const char* name) {
    json entries = header();
    const std::size_t end = data().size();
    contents_[kWeights] += std::string(4, '\0');
    entries[name] = {{"dtype", "F32"}, {"shape", {1}}, {"data_offsets", {end, end + 4}}};
    set_header(entries);
  }

  format::ModelFiles files() const {
    std::vector<format::ModelFiles::MemoryFile> files;
    for (const auto& [name, bytes] : contents_) files.push_back({name, std::as_bytes(std::span(bytes))});
    return format::ModelFiles::from_memory("changed", files);
  }

 private:
  static constexpr const char* kWeights = "model.safetensors";

  std::uint64_t header_size() const {
    std::uint64_t size = 0;
    std::memcpy(&size, contents_.at(kWeights).data(), sizeof size);
    return size;
  }
  json header() const { return json::parse(contents_.at(kWeights).substr(8, header_size())); }
  std::string data() const { return contents_.at(kWeights).substr(8 + header_size()); }

  void set_header(const json& entries) {
    const std::string text = entries.dump();
    contents_[kWeights] = format::GgufBuilder::raw<std::uint64_t>(text.size()) + text + data();
  }

  std::map<std::string, std::string> contents_;
};

class GgufExport : public ::testing::Test {
 protected:
  void SetUp() override { TearDown(); }
  void TearDown() override {
    std::filesystem::remove(file_);
    std::filesystem::remove_all(folder_);
  }

  // Each export of a test replaces the one before.
  Status export_from(format::ModelFiles files) {
    return export_gguf(files, {std::nullopt, true, {}}, file_.string()).status();
  }

  Status export_from(const std::filesystem::path& path,
                     std::optional<backend::BlockType> type = std::nullopt) {
    return export_to(file_, path, {type, true, {}}).status();
  }

  static Result<ExportSummary> export_to(const std::filesystem::path& file, const std::filesystem::path& path,
                                         const ExportOptions& options) {
    KVASIR_ASSIGN_OR_RETURN(format::ModelFiles files, format::ModelFiles::open(path.string()));
    return export_gguf(files, options, file.string());
  }

  const std::filesystem::path data_ = kvasir::testing::test_data_dir();
  // Tests run at the same time, each in a process of its own.
  const std::filesystem::path file_ =
      std::filesystem::path(::testing::TempDir()) / fmt::format("kvasir-export-{}.gguf", getpid());
  const std::filesystem::path part_ = file_.string() + ".part", folder_ = file_.string() + ".d";
};

TEST_F(GgufExport, AnExportedModelIsTheSameModel) {
  const Status status = export_from(data_ / "gguf/llama-mixed.gguf");
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(logits_of(file_), logits_of(data_ / "gguf/llama-mixed.gguf"));
}

// Folders with options that GGUF has no key for: what the refusal names, and the options with which they are
// like all models of their architecture. Null: their tensors are of another shape than those.
struct Unusual {
  const char* name;
  const char* refusal;
  json changes;
};

const Unusual* find_unusual(const std::string& name) {
  static const Unusual kUnusual[] = {
      {"falcon-sequential", "tensor 'transformer.h.0.post_attention_layernorm.bias'", nullptr},
      {"gpt-neox-sequential", "attention_bias", nullptr},
      {"qwen3-moe-normalized", "mlp_only_layers or decoder_sparse_step", nullptr},
      {"qwen3-moe",
       "mlp_only_layers or decoder_sparse_step",
       {{"num_hidden_layers", 1}, {"mlp_only_layers", json::array()}, {"norm_topk_prob", true}}},
      {"gemma2", "query_pre_attn_scalar", {{"query_pre_attn_scalar", 10}}},
      {"gemma3", "query_pre_attn_scalar", {{"query_pre_attn_scalar", 14}}},
      {"qwen2-windows",
       "sliding_window or layer_types",
       {{"use_sliding_window", false}, {"layer_types", nullptr}}},
      {"smollm3", "no_rope_layers", {{"no_rope_layers", {1, 1, 1}}}},
  };
  for (const Unusual& each : kUnusual) {
    if (name == each.name) return &each;
  }
  return nullptr;
}

class GgufExportOfFolder : public GgufExport, public ::testing::WithParamInterface<std::string> {};

TEST_P(GgufExportOfFolder, IsTheSameModel) {
  const std::filesystem::path folder = data_ / "models" / GetParam();
  const Unusual* unusual = find_unusual(GetParam());
  if (unusual != nullptr) {
    const Status refused = export_from(folder);
    EXPECT_EQ(refused.code(), StatusCode::kUnsupported);
    EXPECT_NE(refused.message().find(unusual->refusal), std::string::npos) << refused.message();
    EXPECT_FALSE(std::filesystem::exists(file_));
    if (unusual->changes.is_null()) return;
  }
  const ChangedFolder changed(folder, unusual == nullptr ? json::object() : unusual->changes);
  const Status status = export_from(changed.files());
  ASSERT_TRUE(status.ok()) << status.message();
  const std::vector<float> logits = logits_of(file_);
  EXPECT_FALSE(logits.empty());
  EXPECT_EQ(logits, logits_of(load(changed.files(), {WeightDtype::kF32})));
}

INSTANTIATE_TEST_SUITE_P(Families, GgufExportOfFolder,
                         ::testing::ValuesIn(models_in(kvasir::testing::test_data_dir() / "models")),
                         name_of_model);

// One option each that the architecture has no key for.
TEST_F(GgufExport, RefusesWhatTheFormatHasNoKeyFor) {
  const std::tuple<const char*, json, const char*> cases[] = {
      {"llama-gqa", {{"hidden_act", "gelu"}}, "the activation of MLPs"},
      {"gpt2", {{"scale_attn_weights", false}}, "query_pre_attn_scalar or another scale of attention"},
      {"llama-rope-yarn",
       {{"rope_scaling",
         {{"rope_type", "yarn"},
          {"factor", 4},
          {"original_max_position_embeddings", 64},
          {"truncate", false}}}},
       "rope_theta or rope_scaling"},
  };
  for (const auto& [name, changes, option] : cases) {
    const Status status = export_from(ChangedFolder(data_ / "models" / name, changes).files());
    EXPECT_EQ(status.code(), StatusCode::kUnsupported);
    EXPECT_NE(status.message().find(option), std::string::npos) << status.message();
  }
}

// Which the format has as a factor on top of yarn's own.
TEST_F(GgufExport, KeepsTheMagnitudesOfYarn) {
  for (const json& option :
       {json{{"attention_factor", 0.9}}, json{{"mscale", 0.8}, {"mscale_all_dim", 1.5}}}) {
    json scaling = {{"rope_type", "yarn"}, {"factor", 4}, {"original_max_position_embeddings", 64}};
    scaling.update(option);
    const ChangedFolder changed(data_ / "models/llama-rope-yarn", {{"rope_scaling", scaling}});
    const Status status = export_from(changed.files());
    ASSERT_TRUE(status.ok()) << status.message();
    const std::vector<float> logits = logits_of(file_);
    const std::vector<float> expected = logits_of(load(changed.files(), {WeightDtype::kF32}));
    ASSERT_EQ(logits.size(), expected.size());
    for (std::size_t i = 0; i < logits.size(); ++i) ASSERT_NEAR(logits[i], expected[i], 1e-4) << i;
  }
}

// The tokens of config.json and generation_config.json.
TEST_F(GgufExport, EndsTextsWhereItsFolderDoes) {
  ChangedFolder folder(data_ / "models/llama-gqa", {{"eos_token_id", {2, 7}}});
  folder.set_file("generation_config.json", json{{"eos_token_id", {5, 2}}}.dump());
  ASSERT_TRUE(export_from(folder.files()).ok());
  auto exported = format::ModelFiles::open(file_.string());
  ASSERT_TRUE(exported.ok()) << exported.status().message();
  auto original = folder.files();
  auto ends = read_model_config(*exported)->eos_token_ids,
       expected = read_model_config(original)->eos_token_ids;
  std::sort(ends.begin(), ends.end());
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(ends, (std::vector<TokenId>{2, 5, 7}));
  EXPECT_EQ(ends, expected);
  EXPECT_EQ(*exported->gguf()->metadata.integer("tokenizer.ggml.eos_token_id", 0, 9), 5);

  const ChangedFolder many(data_ / "models/llama-gqa", {{"eos_token_id", {1, 2, 3, 4}}});
  EXPECT_NE(export_from(many.files()).message().find("eos_token_id: expected at most 3"), std::string::npos);
}

TEST_F(GgufExport, RoundsMatricesToTheTypeAskedFor) {
  for (const auto& [type, name] : {std::pair(backend::BlockType::kQ8_0, "Q8_0"),
                                   {backend::BlockType::kQ4_0, "Q4_0"},
                                   {backend::BlockType::kQ4_K, "Q4_K"}}) {
    SCOPED_TRACE(name);
    const Status status = export_from(data_ / "gguf/llama-mixed.gguf", type);
    ASSERT_TRUE(status.ok()) << status.message();
    auto files = format::ModelFiles::open(file_.string());
    ASSERT_TRUE(files.ok()) << files.status().message();
    const format::TensorMap& tensors = files->gguf()->tensors;
    EXPECT_EQ(tensors.at("blk.0.ffn_down.weight").dtype_name, name);
    // Its rows of 32 weights are too short for Q4_K.
    EXPECT_EQ(tensors.at("blk.0.ffn_up.weight").dtype_name,
              type == backend::BlockType::kQ4_K ? "Q8_0" : name);
    EXPECT_EQ(tensors.at("token_embd.weight").dtype_name, "Q8_0");
    EXPECT_EQ(tensors.at("blk.0.attn_norm.weight").dtype_name, "F32");
    EXPECT_EQ(*files->gguf()->metadata.integer("llama.block_count", 0, 9), 5);
    EXPECT_EQ(logits_of(file_).size(), 96u);
  }
}

TEST_F(GgufExport, LeavesNothingBehindWhenItFails) {
  auto files = format::ModelFiles::open((data_ / "models/llama-gqa").string());
  ASSERT_TRUE(files.ok());
  const Status status = export_gguf(*files, {}, "/nonexistent/x.gguf").status();
  EXPECT_EQ(status.code(), StatusCode::kIo);
  EXPECT_EQ(status.message(), "/nonexistent/x.gguf.part: cannot be created: No such file or directory");

  ExportOptions options;
  std::stop_source stopping;
  options.stop = stopping.get_token();
  stopping.request_stop();
  EXPECT_EQ(export_gguf(*files, options, file_.string()).status().code(), StatusCode::kCancelled);
  EXPECT_FALSE(std::filesystem::exists(file_));
  EXPECT_FALSE(std::filesystem::exists(part_));
}

TEST_F(GgufExport, SaysWhatItHasWritten) {
  const std::filesystem::path source = data_ / "gguf/llama-mixed.gguf";
  const auto summary = export_to(file_, source, {backend::BlockType::kQ4_K, false, {}});
  ASSERT_TRUE(summary.ok()) << summary.status().message();
  EXPECT_EQ(summary->num_bytes, std::filesystem::file_size(file_));
  EXPECT_GT(summary->num_unfit, 0);
  // Most rows are too short for Q4_K; the file says what it is, not what was asked for.
  EXPECT_EQ(summary->types.at(0).type, backend::BlockType::kQ8_0);
  auto files = format::ModelFiles::open(file_.string());
  ASSERT_TRUE(files.ok());
  EXPECT_EQ(*files->gguf()->metadata.integer("general.file_type", 0, 99), 7);
  std::size_t num_tensors = 0;
  std::uint64_t num_bytes = 0;
  for (const auto& total : summary->types) {
    num_tensors += total.num_tensors;
    num_bytes += total.num_bytes;
  }
  EXPECT_EQ(num_tensors, files->gguf()->tensors.size());
  std::uint64_t expected_bytes = 0;
  for (const auto& [name, tensor] : files->gguf()->tensors) expected_bytes += tensor.data.size();
  EXPECT_EQ(num_bytes, expected_bytes);
  EXPECT_FALSE(export_to(file_, data_ / "models/llama-gqa", {std::nullopt, true, {}})->has_tokenizer);
}

TEST_F(GgufExport, NeverReplacesWhatItReads) {
  std::filesystem::create_directory(folder_);
  const auto copy = [&](const std::filesystem::path& from, const char* name) {
    std::filesystem::copy_file(from, folder_ / name);
    return folder_ / name;
  };
  const std::filesystem::path input = copy(data_ / "gguf/llama-mixed.gguf", "a.gguf");
  std::filesystem::create_symlink("a.gguf", folder_ / "link.gguf");
  std::filesystem::create_hard_link(input, folder_ / "hard.gguf");
  const auto size = std::filesystem::file_size(input);
  for (const char* same : {"a.gguf", "./a.gguf", "link.gguf", "hard.gguf"}) {
    const Status status = export_to(folder_ / same, input, {backend::BlockType::kQ4_0, true, {}}).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument) << same;
    EXPECT_NE(status.message().find("is a file of the model that is read"), std::string::npos);
  }
  EXPECT_EQ(std::filesystem::file_size(input), size);

  // Any part of a model in several files.
  for (const char* name : {"a", "b"}) {
    const bool is_second = *name == 'b';
    format::GgufBuilder part;
    part.key("split.no", format::GgufType::kUint16, part.raw<std::uint16_t>(is_second));
    part.key("split.count", format::GgufType::kUint16, part.raw<std::uint16_t>(2));
    part.tensor(name, {8}, 0, 0);
    std::ofstream(folder_ / (is_second ? "m-00002-of-00002.gguf" : "m-00001-of-00002.gguf"), std::ios::binary)
        << part.build(32);
  }
  for (const char* other : {"m-00001-of-00002.gguf", "m-00002-of-00002.gguf"}) {
    const Status status =
        export_to(folder_ / other, folder_ / "m-00001-of-00002.gguf", {std::nullopt, true, {}}).status();
    EXPECT_NE(status.message().find("is a file of the model that is read"), std::string::npos)
        << status.message();
  }

  const std::filesystem::path model = folder_ / "model";
  std::filesystem::copy(data_ / "models/llama-gqa", model);
  std::filesystem::create_symlink("model.safetensors", model / "x.gguf");
  EXPECT_EQ(export_to(model / "x.gguf", model, {std::nullopt, true, {}}).status().code(),
            StatusCode::kInvalidArgument);
  EXPECT_TRUE(export_to(model / "new.gguf", model, {}).ok());
  EXPECT_FALSE(export_to(model / "new.gguf", model, {}).ok());
  EXPECT_TRUE(export_to(model / "new.gguf", model, {std::nullopt, true, {}}).ok());
}

TEST_F(GgufExport, ReadsTheConfigsOfTransformers5) {
  const json configs = json::parse(std::ifstream(data_ / "model_configs.json"));
  for (const char* name : {"llama-rope-linear", "llama-rope-llama3", "llama-rope-yarn", "phi3-longrope-long",
                           "gemma3", "gpt-neox"}) {
    SCOPED_TRACE(name);
    ChangedFolder changed(data_ / "models" / name, json::object());
    json config = configs.at(name).at("new");
    if (config.contains("query_pre_attn_scalar")) config["query_pre_attn_scalar"] = config["head_dim"];
    changed.set_config(config);
    const Status status = export_from(changed.files());
    ASSERT_TRUE(status.ok()) << status.message();
    EXPECT_EQ(logits_of(file_), logits_of(load(changed.files(), {WeightDtype::kF32})));
  }
}

// What the tensors of a folder may be called otherwise than usual.
TEST_F(GgufExport, KnowsAllNamesThatAFolderMayHave) {
  ChangedFolder gpt2(data_ / "models/gpt2", json::object());
  gpt2.rename_tensors("transformer.", "");
  gpt2.add_tensor("h.0.attn.bias");  // the mask of older files
  Status status = export_from(gpt2.files());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(logits_of(file_), logits_of(data_ / "models/gpt2"));

  ChangedFolder llama(data_ / "models/llama-gqa", json::object());
  llama.rename_tensors("model.", "");  // as in Qwen3-Embedding
  status = export_from(llama.files());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(logits_of(file_), logits_of(data_ / "models/llama-gqa"));
  EXPECT_EQ(logits_of(load(llama.files(), {WeightDtype::kF32})), logits_of(data_ / "models/llama-gqa"));

  json text = json::parse(std::ifstream(data_ / "models/gemma3/config.json"));
  text["query_pre_attn_scalar"] = text["head_dim"];
  ChangedFolder gemma3(data_ / "models/gemma3", json::object());
  gemma3.set_config({{"architectures", {"Gemma3ForConditionalGeneration"}},
                     {"model_type", "gemma3"},
                     {"vision_config", json::object()},
                     {"text_config", text}});
  gemma3.rename_tensors("model.", "model.language_model.");
  gemma3.add_tensor("model.vision_tower.norm.weight");
  status = export_from(gemma3.files());
  ASSERT_TRUE(status.ok()) << status.message();
  EXPECT_EQ(logits_of(file_), logits_of(load(gemma3.files(), {WeightDtype::kF32})));
}

TEST_F(GgufExport, RefusesTensorsThatTheFamilyDoesNotHave) {
  ChangedFolder unknown(data_ / "models/llama-gqa", json::object());
  unknown.add_tensor("model.layers.1.mlp.extra.weight");
  EXPECT_EQ(export_from(unknown.files()).message(),
            "changed/model.safetensors: tensor 'model.layers.1.mlp.extra.weight': GGUF has no name for it in "
            "models of architecture 'llama'");
  const std::string experts = "model.layers.1.block_sparse_moe.experts.";
  ChangedFolder beyond(data_ / "models/mixtral", json::object());
  beyond.rename_tensors(experts + "4.w2", experts + "7.w2");
  EXPECT_EQ(
      export_from(beyond.files()).message(),
      "changed/model.safetensors: tensor 'blk.1.ffn_down_exps.weight': expected 5 parts of one shape and "
      "type");
  ChangedFolder missing(data_ / "models/mixtral", json::object());
  missing.rename_tensors(experts + "4.w2", "model.layers.9.mlp.up_proj");
  EXPECT_EQ(export_from(missing.files()).message(),
            "changed/model.safetensors: tensor 'blk.1.ffn_down_exps.weight': expected 5 experts, got 4");
}

}  // namespace
}  // namespace kvasir::model
