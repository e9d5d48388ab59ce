#pragma once

// `kvasir perplexity`: how well a model predicts a text, as one number to compare weight types by.
//
// exp of the mean negative log likelihood of the text's tokens, each given those before it in its window
// (Jelinek et al. 1977). Windows are disjoint:
//
//   tokenizer adds BOS       [<s> t0 t1 .. tN-2] [<s> tN-1 ..]      every token of the text is scored
//   tokenizer adds nothing   [t0 t1 .. tN-1] [tN ..]                the first token of a window is not
//
// The last window may be shorter. Keys and values are f32, so the number is that of the weights alone.

#include <string>

#include "apps/loaded_model.h"
#include "backend/kv_pool.h"
#include "base/status.h"

namespace kvasir {

struct PerplexityOptions {
  std::string file;  // UTF-8 text; special tokens may be spelled out
  int context = 0;   // tokens in a window, those that the tokenizer adds included; 0: 512, or the model's
                     // context where that is smaller
  backend::KvDtype kv_dtype = backend::KvDtype::kF32;
};

struct Perplexity {
  double value = 0;
  double standard_error = 0;   // of value, as if the tokens' log likelihoods were independent; 0 of one token
  std::size_t num_tokens = 0;  // that were scored
  int context = 0;
};

// Says on standard error how far it is, when that is a terminal.
// Errors: kNotFound, kIo for the file; kInvalidArgument for a file without text, with text that is not UTF-8
// or has no token to score, and for `context`; kCorrupt for a tokenizer with ids that the model lacks.
Result<Perplexity> measure_perplexity(const LoadedModel& loaded, const tokenizer::Tokenizer& tokenizer,
                                      const PerplexityOptions& options);

}  // namespace kvasir
