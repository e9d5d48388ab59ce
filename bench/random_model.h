#pragma once

// Models with random weights, in the shapes of known ones: they say nothing, and are as fast as the real
// ones. A weight depends on the seed, its tensor and its place only, whatever the number of threads.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "backend/cpu_backend.h"
#include "base/status.h"
#include "base/thread_pool.h"

namespace kvasir::bench {

struct ModelShape {
  const char* name;
  int hidden, intermediate, num_layers, num_heads, num_kv_heads;
  int vocab_size = 32000;
  int context = 8192;
};

// All that --shape may name; the first is the one that results are quoted for.
std::span<const ModelShape> model_shapes();

// Requires: one of model_shapes() has the name.
const ModelShape& model_shape(std::string_view name);

// Special tokens of make_tokenizer.
inline constexpr int kPadToken = 0, kBeginToken = 1, kEndToken = 2;

class RandomModel {
 public:
  // `dtype`: of the weights as stored.
  RandomModel(const ModelShape& shape, backend::WeightDtype dtype, std::uint64_t seed);

  // The content of config.json.
  std::string config() const;

  // Takes the next bytes of the file; a failure ends the writing.
  using Sink = std::function<Status(std::span<const std::byte>)>;

  // The content of model.safetensors, piece by piece: normally distributed weights with a standard deviation
  // of 0.02 (of the embedding: 1), norms of 1. The end token's row of the output matrix is zero, so that it
  // is never the likeliest and a reply has its full length.
  Status write_weights(ThreadPool& pool, const Sink& sink) const;

  std::size_t weights_bytes() const { return header_.size() + data_bytes_; }
  std::int64_t num_weights() const { return num_weights_; }

 private:
  struct Tensor {
    std::string name;
    int rows, columns;  // columns 0: a vector

    std::size_t num_elements() const { return static_cast<std::size_t>(rows) * (columns > 0 ? columns : 1); }
  };
  template <typename Element>
  Status write_tensors(ThreadPool& pool, const Sink& sink) const;

  ModelShape shape_;
  backend::WeightDtype dtype_;
  std::uint64_t seed_;
  std::vector<Tensor> tensors_;  // in the order of the file, the embedding first
  std::string header_;           // of the safetensors file, its length included
  std::size_t data_bytes_ = 0;
  std::int64_t num_weights_ = 0;
};

// The content of a tokenizer.json with `num_tokens` entries that turns any text into tokens and back: bytes,
// and pieces of up to four letters. Requires: 1,000 to 100,000.
std::string make_tokenizer(int num_tokens);

}  // namespace kvasir::bench
