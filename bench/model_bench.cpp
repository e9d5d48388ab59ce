// A model of random weights, made in memory: prefill of 512 tokens against the machine's f32 multiply-add
// peak, decode of one token against its read bandwidth.

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <random>
#include <string>
#include <vector>

#include "bench/machine.h"
#include "kernels/float_formats.h"
#include "kernels/kernels.h"
#include "model/model.h"

namespace kvasir::bench {
namespace {

struct Shape {
  int hidden = 1024, intermediate = 4096, num_layers = 16, num_heads = 16, num_kv_heads = 4;
  int vocab_size = 32000;
  std::string dtype = "bf16";  // f32, f16 or bf16
};

std::string make_config(const Shape& shape) {
  return nlohmann::json({{"architectures", {"LlamaForCausalLM"}},
                         {"hidden_size", shape.hidden},
                         {"intermediate_size", shape.intermediate},
                         {"num_hidden_layers", shape.num_layers},
                         {"num_attention_heads", shape.num_heads},
                         {"num_key_value_heads", shape.num_kv_heads},
                         {"vocab_size", shape.vocab_size},
                         {"max_position_embeddings", 8192},
                         {"rms_norm_eps", 1e-5},
                         {"tie_word_embeddings", false}})
      .dump();
}

// Names and (rows, columns) of all tensors; columns 0: a vector.
std::vector<std::pair<std::string, std::pair<int, int>>> tensor_shapes(const Shape& shape) {
  const int kv_size = shape.hidden / shape.num_heads * shape.num_kv_heads;
  std::vector<std::pair<std::string, std::pair<int, int>>> tensors = {
      {"model.embed_tokens.weight", {shape.vocab_size, shape.hidden}},
      {"model.norm.weight", {shape.hidden, 0}},
      {"lm_head.weight", {shape.vocab_size, shape.hidden}}};
  for (int i = 0; i < shape.num_layers; ++i) {
    const std::string prefix = fmt::format("model.layers.{}.", i);
    tensors.insert(tensors.end(), {{prefix + "input_layernorm.weight", {shape.hidden, 0}},
                                   {prefix + "post_attention_layernorm.weight", {shape.hidden, 0}},
                                   {prefix + "self_attn.q_proj.weight", {shape.hidden, shape.hidden}},
                                   {prefix + "self_attn.k_proj.weight", {kv_size, shape.hidden}},
                                   {prefix + "self_attn.v_proj.weight", {kv_size, shape.hidden}},
                                   {prefix + "self_attn.o_proj.weight", {shape.hidden, shape.hidden}},
                                   {prefix + "mlp.gate_proj.weight", {shape.intermediate, shape.hidden}},
                                   {prefix + "mlp.up_proj.weight", {shape.intermediate, shape.hidden}},
                                   {prefix + "mlp.down_proj.weight", {shape.hidden, shape.intermediate}}});
  }
  return tensors;
}

// A safetensors file with small random weights.
std::vector<std::byte> make_weights(const Shape& shape) {
  const std::size_t element_bytes = shape.dtype == "f32" ? 4 : 2;
  const char* dtype_name = shape.dtype == "f32" ? "F32" : shape.dtype == "f16" ? "F16" : "BF16";
  nlohmann::json header;
  std::size_t data_bytes = 0;
  for (const auto& [name, size] : tensor_shapes(shape)) {
    const auto [rows, columns] = size;
    const std::size_t bytes = std::size_t(rows) * std::max(columns, 1) * element_bytes;
    header[name] = {
        {"dtype", dtype_name},
        {"shape", columns == 0 ? nlohmann::json::array({rows}) : nlohmann::json::array({rows, columns})},
        {"data_offsets", {data_bytes, data_bytes + bytes}}};
    data_bytes += bytes;
  }
  std::string text = header.dump();
  text.resize((text.size() + 8 + 63) / 64 * 64 - 8, ' ');
  std::vector<std::byte> file(8 + text.size() + data_bytes);
  const std::uint64_t header_bytes = text.size();
  std::memcpy(file.data(), &header_bytes, 8);
  std::memcpy(file.data() + 8, text.data(), text.size());
  std::minstd_rand random(1);
  std::byte* to = file.data() + 8 + text.size();
  for (std::size_t i = 0; i < data_bytes / element_bytes; ++i, to += element_bytes) {
    const float value = (static_cast<float>(random()) / 2147483648.0f - 0.5f) * 0.05f;
    const std::uint16_t half =
        shape.dtype == "f16" ? kernels::f32_to_f16(value) : kernels::f32_to_bf16(value);
    std::memcpy(to, shape.dtype == "f32" ? static_cast<const void*>(&value) : &half, element_bytes);
  }
  return file;
}

// Weights that a token is multiplied with in the layers, and in the output matrix.
std::pair<double, double> num_multiplied(const Shape& shape) {
  double layers = 0;
  for (const auto& [name, size] : tensor_shapes(shape)) {
    if (name.starts_with("model.layers.")) layers += 1.0 * size.first * size.second;
  }
  return {layers, 1.0 * shape.vocab_size * shape.hidden};
}

struct Options {
  Shape shape;
  int num_tokens = 512, num_threads = num_physical_cores(), num_runs = 5;
};

int run(const Options& options) {
  const auto kernels = kernels::select_kernels(std::getenv("KVASIR_ISA"));
  if (!kernels.ok()) {
    fmt::print(stderr, "{}\n", kernels.status().message());
    return 1;
  }
  ThreadPool pool(options.num_threads);
  fmt::print("{}\n", describe_machine(pool, (*kernels)->isa));
  const std::string config = make_config(options.shape);
  const std::vector<std::byte> weights = make_weights(options.shape);
  const format::ModelFiles::MemoryFile files_in_memory[] = {{"config.json", std::as_bytes(std::span(config))},
                                                            {"model.safetensors", weights}};
  format::ModelFiles files = format::ModelFiles::from_memory("random", files_in_memory);
  auto loaded = model::Model::load(files, model::WeightDtype::kAuto, pool);
  if (!loaded.ok()) {
    fmt::print(stderr, "{}\n", loaded.status().message());
    return 1;
  }
  model::Model& model = **loaded;
  const auto [layer_weights, output_weights] = num_multiplied(options.shape);
  fmt::print("model: {:.0f}M weights in {}, {} MB\n", (layer_weights + 2 * output_weights) / 1e6,
             options.shape.dtype, weights.size() >> 20);

  constexpr int kNumDecoded = 16;
  const int n = options.num_tokens;
  auto kv = backend::KvPool::create(model.kv_layout(16, backend::KvDtype::kF16), (n + kNumDecoded) / 16 + 1);
  if (!kv.ok()) {
    fmt::print(stderr, "{}\n", kv.status().message());
    return 1;
  }
  std::vector<BlockId> blocks;
  for (int i = 0; i < kv->num_blocks(); ++i) blocks.push_back(BlockId{i});
  std::vector<TokenId> tokens;
  for (int i = 0; i < n + kNumDecoded; ++i) tokens.push_back(i * 7919 % options.shape.vocab_size);
  const auto seconds_of = [&](int from, int count) {
    const model::SequenceSlice slice = {std::span<const TokenId>(tokens).subspan(from, count), from, blocks,
                                        true};
    const auto start = std::chrono::steady_clock::now();
    model.forward({&slice, 1}, *kv);
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  };
  std::vector<double> prefill, decode;
  seconds_of(0, n);  // grows the buffers
  MachineLimits limits(pool);
  for (int i = 0; i < options.num_runs; ++i) {
    limits.sample();
    prefill.push_back(seconds_of(0, n));
    for (int j = 0; j < kNumDecoded; ++j) decode.push_back(seconds_of(n + j, 1));
  }

  // Attention: q k and p v over the keys before each query, in every head.
  const double prefill_gflop = 2e-9 * (layer_weights * n + output_weights +
                                       1.0 * n * n * options.shape.hidden * options.shape.num_layers);
  const double element_bytes = options.shape.dtype == "f32" ? 4 : 2;
  const double decode_gb = 1e-9 * ((layer_weights + output_weights) * element_bytes +
                                   1.0 * n / 16 * static_cast<double>(kv->layout().block_bytes()));
  fmt::print("limits: {:.1f} GFLOP/s f32, {:.1f} GB/s read\n", limits.fma_gflops(), limits.read_gbs());
  const auto report = [](std::string_view what, int num_tokens, const Times& times, double work,
                         std::string_view unit, double limit) {
    fmt::print(
        "{}: min {:.2f} ms, median {:.2f} ms; at the minimum {:.1f} tokens/s, {:.1f} {}, {:.1f}% of the "
        "limit\n",
        what, times.minimum * 1e3, times.median * 1e3, num_tokens / times.minimum, work / times.minimum, unit,
        100 * work / times.minimum / limit);
  };
  report(fmt::format("prefill of {} tokens", n), n, summarize(prefill), prefill_gflop, "GFLOP/s",
         limits.fma_gflops());
  report(fmt::format("decode of 1 token after {}", n), 1, summarize(decode), decode_gb, "GB/s",
         limits.read_gbs());
  return 0;
}

}  // namespace
}  // namespace kvasir::bench

int main(int argc, char** argv) {
  kvasir::bench::Options options;
  CLI::App app("Speed of a forward pass over random weights, held against the machine's limits");
  app.add_option("--hidden", options.shape.hidden)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--intermediate", options.shape.intermediate)
      ->capture_default_str()
      ->check(CLI::PositiveNumber);
  app.add_option("--layers", options.shape.num_layers)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--heads", options.shape.num_heads)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--kv-heads", options.shape.num_kv_heads)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--vocab", options.shape.vocab_size)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--dtype", options.shape.dtype)
      ->capture_default_str()
      ->check(CLI::IsMember({"f32", "f16", "bf16"}));
  app.add_option("--tokens", options.num_tokens, "Length of the prefill")
      ->capture_default_str()
      ->check(CLI::Range(1, 8000));
  app.add_option("--threads", options.num_threads)->capture_default_str()->check(CLI::PositiveNumber);
  app.add_option("--runs", options.num_runs)->capture_default_str()->check(CLI::PositiveNumber);
  CLI11_PARSE(app, argc, argv);
  return kvasir::bench::run(options);
}
