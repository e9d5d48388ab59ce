#pragma once

// The workloads that servers are compared by. Each is what a number of users do at the same time: a user
// sends one request after the other on a connection of its own.
//
//   prefill                 one prompt of 512 tokens, one new token
//   decode                  one stream of 64 new tokens after a short prompt
//   concurrent              10 prompts of 30 tokens at once, 32 new tokens each
//   rag                     a context of 470 tokens with a question (cold), then 4 questions on it (warm)
//   repeat                  a prompt of 480 tokens (cold), then the same again 8 times
//   system                  32 requests, 16 at a time: 1,024 tokens in common, 32 of their own, 64 new ones
//   chat                    8 conversations at once, 4 turns each, every prompt with all that was said
//   branch                  4 requests at once that share a prefix of 2,048 tokens nobody has seen
//   long-prefill-in-decode  4 streams of 128 new tokens decode while a prompt of 2,048 tokens comes
//   streams                 64 streams of 128 new tokens at once
//
// A model whose context is too small gets shorter prompts; counts in a report are those that were measured.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "bench/completion.h"
#include "bench/load_client.h"
#include "bench/prompts.h"

namespace kvasir::bench {

enum class Workload {
  kPrefill,
  kDecode,
  kConcurrent,
  kRag,
  kRepeat,
  kSystem,
  kChat,
  kBranch,
  kLongPrefillInDecode,
  kStreams,
};

inline constexpr Workload kAllWorkloads[] = {
    Workload::kPrefill, Workload::kDecode, Workload::kConcurrent,
    Workload::kRag,     Workload::kRepeat, Workload::kSystem,
    Workload::kChat,    Workload::kBranch, Workload::kLongPrefillInDecode,
    Workload::kStreams};

std::string_view name_of(Workload workload);
std::optional<Workload> find_workload(std::string_view name);

// Requests of one kind in a run of a workload, in the order in which they ended.
struct Phase {
  std::string name;  // "" in a workload with one phase
  std::vector<Completion> completions;
};

// What one run of a workload gave.
struct WorkloadRun {
  double seconds = 0;  // from the first request to the end of the last reply
  std::vector<Phase> phases;
};

struct LoadConfig {
  ServerUrl url;
  Dialect dialect;
  int context = 0;        // tokens that a prompt and its reply may have together; 0: enough for all
  bool is_quick = false;  // a quarter of the requests, tokens and streams: a test of the bench itself
  std::chrono::seconds timeout{600};
  std::uint64_t seed = 1;
};

class LoadGenerator {
 public:
  LoadGenerator(const LoadConfig& config, Prompts prompts);

  // Runs a workload. Its prompts follow from the seed, the workload and `run`: another run has others.
  // Errors: those of LoadClient and read_completion, for any of the requests.
  Result<WorkloadRun> run(Workload workload, int run);

  // The prompts of Workload::kStreams, and the new tokens for each: what the engine alone is measured by.
  Result<std::vector<std::string>> stream_prompts(int run);
  int num_stream_tokens() const { return scaled(kStreamTokens); }

 private:
  struct Job;
  class Crew;

  static constexpr int kStreamTokens = 128;

  Result<WorkloadRun> run_jobs(std::vector<Job> jobs, const std::vector<std::string>& phases, int num_users);
  Result<WorkloadRun> rag();
  Result<WorkloadRun> repeat();
  Result<WorkloadRun> system();
  Result<WorkloadRun> chat();
  Result<WorkloadRun> branch();
  Result<WorkloadRun> long_prefill_in_decode();
  Result<WorkloadRun> distinct(int num_requests, int num_prompt_tokens, int num_tokens);

  void seed(Workload workload, int run);
  int scaled(int count) const;
  // The length of a prompt that leaves room for what else the sequence will hold.
  int fitted(int num_prompt_tokens, int num_others) const;

  const LoadConfig config_;
  Prompts prompts_;
};

}  // namespace kvasir::bench
