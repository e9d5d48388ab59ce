#pragma once

// A model's prefill and decode, timed apart from everything around them, with what each takes of the machine.

#include <memory>
#include <string>
#include <vector>

#include "base/status.h"
#include "base/thread_pool.h"
#include "bench/machine.h"
#include "bench/random_model.h"
#include "bench/report.h"
#include "format/model_files.h"
#include "model/model.h"

namespace kvasir::bench {

// The files of a model with random bf16 weights, in memory.
class RandomModelFiles {
 public:
  static Result<std::unique_ptr<RandomModelFiles>> create(const ModelShape& shape, ThreadPool& pool);
  format::ModelFiles open() const;

 private:
  std::string config_;
  std::vector<std::byte> weights_;
};

class ModelRuns {
 public:
  // Loads the model. `files`, `pool` and `limits` must outlive it. Errors: those of model::Model::load.
  static Result<std::unique_ptr<ModelRuns>> load(format::ModelFiles& files, model::WeightDtype dtype,
                                                 ThreadPool& pool, MachineLimits& limits);

  // What the weights are held as, such as "q8_0".
  const std::string& dtype() const { return dtype_; }
  const model::ModelConfig& config() const { return model_->config(); }

  // One prompt of this length, in one forward: tokens/s against the peak of the multiply-adds that the
  // weights' type uses. Only products with weights are counted as work.
  Result<Measurement> prefill(int num_tokens, int num_runs);

  // A step of one token for each of the sequences, each with its own context: tokens/s against the read
  // bandwidth. Read are the weights once, and each sequence's keys and values.
  Result<Measurement> decode(int num_sequences, int context, int num_runs);

 private:
  ModelRuns(std::unique_ptr<model::Model> model, model::WeightDtype dtype, MachineLimits& limits);
  Result<std::vector<double>> time(int num_sequences, int context, int num_tokens, int num_runs);

  std::unique_ptr<model::Model> model_;
  std::string dtype_;
  bool has_integer_products_;
  double layer_weights_, output_weights_;  // that a token is multiplied with
  double weight_bytes_;                    // of both
  MachineLimits& limits_;
};

}  // namespace kvasir::bench
