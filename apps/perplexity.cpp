#include "apps/perplexity.h"

#include <fmt/core.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <span>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/clock.h"
#include "engine/log_probability.h"
#include "format/file_map.h"

namespace kvasir {
namespace {

constexpr int kBlockSize = 16;
constexpr int kDefaultContext = 512;
// Tokens of one forward: bounds the logits in memory (64 MB for a vocabulary of 128k), enough for the
// kernels.
constexpr int kTokensPerForward = 128;

// The line on the terminal.
class Progress {
 public:
  explicit Progress(std::size_t total) : total_(total), is_shown_(::isatty(STDERR_FILENO) == 1) {}
  ~Progress() {
    if (percent_ >= 0) std::fputs("\r\033[K", stderr);
  }

  void update(std::size_t done) {
    const int percent = static_cast<int>(100 * done / total_);
    if (!is_shown_ || percent == percent_) return;
    percent_ = percent;
    const double seconds = elapsed_ms(begin_, clock_.now()) / 1000;
    const double left = seconds / static_cast<double>(done) * static_cast<double>(total_ - done);
    fmt::print(stderr, "\r\033[Kperplexity: {}%, {:.0f} s left", percent, left);
  }

 private:
  const SteadyClock clock_;
  const TimePoint begin_ = clock_.now();
  const std::size_t total_;
  const bool is_shown_;
  int percent_ = -1;  // on the terminal
};

// Mean and spread of the negative log likelihoods.
struct Sums {
  double sum = 0, sum_of_squares = 0;
  std::size_t count = 0;

  void add(double log_likelihood) {
    sum -= log_likelihood;
    sum_of_squares += log_likelihood * log_likelihood;
    ++count;
  }
};

struct Text {
  std::vector<TokenId> prefix;  // what the tokenizer puts before every text
  std::vector<TokenId> tokens;
};

Result<Text> read_text(const std::string& path, const tokenizer::Tokenizer& tokenizer, int vocab_size) {
  KVASIR_ASSIGN_OR_RETURN(const format::FileMap file, format::FileMap::open(path));
  const std::string_view bytes = as_text(file.bytes());
  if (bytes.empty()) return error(StatusCode::kInvalidArgument, "{}: expected text, got an empty file", path);
  auto tokens = tokenizer.encode(bytes, {.add_special_tokens = false});
  if (!tokens.ok()) return error(tokens.status().code(), "{}: {}", path, tokens.status().message());
  KVASIR_ASSIGN_OR_RETURN(std::vector<TokenId> prefix, tokenizer.encode(bytes));
  // What it may add behind a text is not a window's.
  prefix.erase(std::search(prefix.begin(), prefix.end(), tokens->begin(), tokens->end()), prefix.end());
  Text text{std::move(prefix), std::move(*tokens)};
  for (const auto* ids : {&text.prefix, &text.tokens}) {
    for (const TokenId id : *ids) {
      if (id < vocab_size) continue;
      return error(StatusCode::kCorrupt, "tokenizer.json: has token id {}, but the model's vocab_size is {}",
                   id, vocab_size);
    }
  }
  return text;
}

// Adds the log likelihoods of window[num_given..], each given all tokens before it.
void score_window(model::Model& model, backend::KvPool& pool, std::span<const BlockId> block_table,
                  std::span<const TokenId> window, int num_given, Sums& sums) {
  const std::size_t vocab_size = model.config().vocab_size;
  const int num_inputs = static_cast<int>(window.size()) - 1;  // nothing follows the last token
  for (int begin = 0; begin < num_inputs; begin += kTokensPerForward) {
    const int end = std::min(begin + kTokensPerForward, num_inputs);
    const int first_scored = std::max(begin, num_given - 1);
    const model::SequenceSlice slice = {window.subspan(begin, end - begin), begin, block_table,
                                        std::max(0, end - first_scored)};
    std::span<const float> logits = model.forward({&slice, 1}, pool);
    for (int i = first_scored; i < end; ++i) {
      sums.add(engine::log_probability(logits.first(vocab_size), window[i + 1]));
      logits = logits.subspan(vocab_size);
    }
  }
}

}  // namespace

Result<Perplexity> measure_perplexity(const LoadedModel& loaded, const tokenizer::Tokenizer& tokenizer,
                                      const PerplexityOptions& options) {
  model::Model& model = *loaded.model;
  KVASIR_ASSIGN_OR_RETURN(const Text text, read_text(options.file, tokenizer, model.config().vocab_size));
  const int num_prefix = static_cast<int>(text.prefix.size());
  const int num_given = std::max(num_prefix, 1);
  if (num_prefix + text.tokens.size() <= static_cast<std::size_t>(num_given)) {
    return error(StatusCode::kInvalidArgument, "{}: expected at least {} tokens, got {}", options.file,
                 num_given + 1, num_prefix + text.tokens.size());
  }
  const int largest = model.config().max_position_embeddings;
  const int context = options.context == 0 ? std::min(kDefaultContext, largest) : options.context;
  if (context <= num_given || context > largest) {
    return error(StatusCode::kInvalidArgument, "--context: expected {} to {} tokens, got {}", num_given + 1,
                 largest, context);
  }

  const int num_blocks = (context - 1) / kBlockSize + 1;
  KVASIR_ASSIGN_OR_RETURN(backend::KvPool pool,
                          backend::KvPool::create(model.kv_layout(kBlockSize, options.kv_dtype), num_blocks));
  std::vector<BlockId> block_table;
  for (int i = 0; i < num_blocks; ++i) block_table.push_back(BlockId{i});

  Sums sums;
  Progress progress(text.tokens.size());
  std::vector<TokenId> window;
  const std::size_t step = context - num_prefix;
  for (std::size_t begin = 0; begin < text.tokens.size(); begin += step) {
    const std::size_t end = std::min(begin + step, text.tokens.size());
    window = text.prefix;
    window.insert(window.end(), text.tokens.begin() + begin, text.tokens.begin() + end);
    score_window(model, pool, block_table, window, num_given, sums);
    progress.update(end);
  }

  // The error of exp(mean) is exp(mean) times that of the mean (the delta method).
  const auto count = static_cast<double>(sums.count);
  const double mean = sums.sum / count;
  const double variance =
      count > 1 ? std::max(0.0, sums.sum_of_squares - count * mean * mean) / (count - 1) : 0;
  return Perplexity{std::exp(mean), std::exp(mean) * std::sqrt(variance / count), sums.count, context};
}

}  // namespace kvasir
