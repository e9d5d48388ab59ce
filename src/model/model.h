#pragma once

// A decoder-only transformer: checked weights and one straight-line forward pass over a batch of sequence
// slices whose keys and values live in a paged KvPool. It knows tokens, positions and blocks; it never sees a
// request. One thread calls forward at a time; the pool's threads work inside it.

#include <memory>
#include <span>
#include <vector>

#include "backend/kv_pool.h"
#include "base/ids.h"
#include "base/status.h"
#include "base/thread_pool.h"
#include "format/model_files.h"
#include "model/load_options.h"
#include "model/model_config.h"

namespace kvasir::model {

// Consecutive tokens of one sequence to run through the model.
struct SequenceSlice {
  std::span<const TokenId> tokens;  // (num_tokens), at least one, each in [0, vocab_size)
  int start_position = 0;           // position of tokens[0]; the KV of all earlier positions is in the blocks
  std::span<const BlockId> block_table;  // block i holds positions [i * block_size, (i + 1) * block_size)
  int num_logits = 0;                    // logits are computed of the slice's last num_logits tokens
  int num_hidden = 0;                    // hidden states are given of the slice's last num_hidden tokens
  // Of the slice's first num_stored tokens K and V are in the blocks as well, and are not written again: they
  // may be read by others meanwhile.
  int num_stored = 0;
};

class Model {
 public:
  // Loads config.json and the weights. Errors: kCorrupt, kUnsupported, kNotFound, naming file and tensor;
  // kResourceExhausted.
  // `files` must outlive the model: weights that need no conversion stay mapped.
  static Result<std::unique_ptr<Model>> load(format::ModelFiles& files, LoadOptions options,
                                             ThreadPool& pool);
  ~Model();

  const ModelConfig& config() const;

  // How the weights are held; kAuto: as stored.
  WeightDtype dtype() const;

  // The layout of the blocks that this model reads and writes. Requires: block_size is a positive multiple
  // of 16.
  backend::KvLayout kv_layout(int block_size, backend::KvDtype dtype) const;

  // A 128-bit-strong fingerprint of config and weights' identity (sizes, names and sampled content), as text.
  const std::string& fingerprint() const;

  // Runs all slices: writes their K and V into the blocks, and returns the logits that the slices ask for, in
  // the order of slices and tokens: (sum of num_logits, vocab_size), valid until the next call. Bitwise the
  // same for a token whatever else is in the batch, however its sequence was cut into slices, of however many
  // tokens logits are asked for and however many threads run. Their memory is the caller's to bound: a slice
  // of a few tokens at a time gives the logits of a whole sequence.
  // Requires: no two slices write the same block; positions below config().max_position_embeddings;
  // num_logits, num_hidden and num_stored from 0 to the slice's number of tokens.
  std::span<const float> forward(std::span<const SequenceSlice> slices, backend::KvPool& kv);

  // What the logits would be computed from: the final hidden states, after the last norm, that the slices of
  // the last forward asked for, in the order of slices and tokens: (sum of num_hidden, hidden_size). Bitwise
  // the same as the logits are. Valid until the next forward.
  std::span<const float> hidden_states() const;

 private:
  struct Impl;
  explicit Model(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// About the bytes beside weights and KV blocks that forward() takes for steps of up to `max_tokens` tokens,
// of which `max_logits` have logits, of sequences of any length.
std::size_t scratch_bytes(const ModelConfig& config, int max_tokens, int max_logits);

}  // namespace kvasir::model
