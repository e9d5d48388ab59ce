#include "bench/workloads.h"

#include <algorithm>
#include <boost/asio/co_spawn.hpp>
#include <boost/asio/detached.hpp>
#include <exception>
#include <functional>
#include <memory>
#include <utility>

#include "base/short_slices.h"

namespace kvasir::bench {
namespace {

namespace asio = boost::asio;

struct Name {
  Workload workload;
  std::string_view name;
};
constexpr Name kNames[] = {
    {Workload::kPrefill, "prefill"},
    {Workload::kDecode, "decode"},
    {Workload::kConcurrent, "concurrent"},
    {Workload::kRag, "rag"},
    {Workload::kRepeat, "repeat"},
    {Workload::kSystem, "system"},
    {Workload::kChat, "chat"},
    {Workload::kBranch, "branch"},
    {Workload::kLongPrefillInDecode, "long-prefill-in-decode"},
    {Workload::kStreams, "streams"},
};

}  // namespace

std::string_view name_of(Workload workload) {
  return std::find_if(std::begin(kNames), std::end(kNames),
                      [workload](const Name& each) { return each.workload == workload; })
      ->name;
}

std::optional<Workload> find_workload(std::string_view name) {
  for (const Name& each : kNames) {
    if (each.name == name) return each.workload;
  }
  return std::nullopt;
}

struct LoadGenerator::Job {
  int phase = 0;
  std::string prompt;
  int num_tokens = 0;
};

// The users of one run, on one thread. Replies are read when all have ended: what reads them would slow down
// what is measured.
class LoadGenerator::Crew {
 public:
  using Act = std::function<asio::awaitable<void>(int user)>;

  Crew(const LoadConfig& config, int num_users) : config_(config) {
    for (int i = 0; i < num_users; ++i) {
      clients_.push_back(std::make_unique<LoadClient>(io_, config.url, config.timeout));
    }
  }

  // Connects `num_users` of them, then lets each do `act`, and waits for all that were started.
  Status run(int num_users, const Act& act) {
    for (int user = 0; user < num_users; ++user) spawn(connect(user));
    io_.run();
    if (!failure_.ok()) return failure_;
    io_.restart();
    for (int user = 0; user < num_users; ++user) spawn(act(user));
    io_.run();
    return failure_;
  }

  // Within run(): another user's coroutine.
  void spawn(asio::awaitable<void> coroutine) {
    asio::co_spawn(io_, std::move(coroutine), [](const std::exception_ptr& thrown) {
      if (thrown) std::rethrow_exception(thrown);
    });
  }

  // Sends a request and keeps its reply; null after any failure.
  asio::awaitable<const RawReply*> send(int user, Job job, std::function<void()> on_arrival = {}) {
    if (!failure_.ok()) co_return nullptr;
    std::string body = config_.dialect.request(job.prompt, job.num_tokens);
    Result<RawReply> reply = co_await clients_[user]->send("POST", config_.dialect.route(), std::move(body),
                                                           std::move(on_arrival));
    if (!reply.ok()) {
      fail(reply.status());
      co_return nullptr;
    }
    records_.push_back(std::make_unique<Record>(Record{job.phase, std::move(*reply)}));
    co_return &records_.back()->reply;
  }

  // The first failure counts; it ends the others' requests.
  void fail(Status status) {
    if (!failure_.ok()) return;
    failure_ = std::move(status);
    for (const auto& client : clients_) client->cancel();
  }

  // Requires: run() has succeeded.
  Result<WorkloadRun> read(const std::vector<std::string>& phase_names) const {
    WorkloadRun run;
    for (const std::string& name : phase_names) run.phases.push_back({name, {}});
    TimePoint begin = TimePoint::max(), end = TimePoint::min();
    for (const auto& record : records_) {
      Result<Completion> completion = read_completion(config_.dialect.api, record->reply);
      if (!completion.ok()) {
        return error(completion.status().code(), "{}{}: {}", config_.url.text(), config_.dialect.route(),
                     completion.status().message());
      }
      begin = std::min(begin, completion->sent);
      end = std::max(end, completion->ended);
      run.phases[record->phase].completions.push_back(std::move(*completion));
    }
    run.seconds = elapsed_ms(begin, end) / 1000;
    return run;
  }

 private:
  struct Record {
    int phase;
    RawReply reply;
  };

  asio::awaitable<void> connect(int user) {
    const Status connected = co_await clients_[user]->connect();
    if (!connected.ok()) fail(connected);
  }

  const LoadConfig& config_;
  asio::io_context io_{1};
  std::vector<std::unique_ptr<LoadClient>> clients_;
  std::vector<std::unique_ptr<Record>> records_;
  Status failure_;
};

LoadGenerator::LoadGenerator(const LoadConfig& config, Prompts prompts)
    : config_(config), prompts_(std::move(prompts)) {
  // What it measures is the server's time, not when the two share a core whose turn it is.
  prefer_short_slices();
}

void LoadGenerator::seed(Workload workload, int run) {
  prompts_.seed((config_.seed * 1'000'003 + static_cast<std::uint64_t>(run)) * 64 +
                static_cast<std::uint64_t>(workload));
}

int LoadGenerator::scaled(int count) const {
  return config_.is_quick ? std::max(1, count / 4) : count;
}

int LoadGenerator::fitted(int num_prompt_tokens, int num_others) const {
  if (config_.context == 0) return num_prompt_tokens;
  return std::clamp(config_.context - num_others, 1, num_prompt_tokens);
}

Result<WorkloadRun> LoadGenerator::run(Workload workload, int run) {
  seed(workload, run);
  switch (workload) {
    case Workload::kPrefill:
      return distinct(1, scaled(512), 1);
    case Workload::kDecode:
      return distinct(1, 32, scaled(64));
    case Workload::kConcurrent:
      return distinct(scaled(10), 30, scaled(32));
    case Workload::kRag:
      return rag();
    case Workload::kRepeat:
      return repeat();
    case Workload::kSystem:
      return system();
    case Workload::kChat:
      return chat();
    case Workload::kBranch:
      return branch();
    case Workload::kLongPrefillInDecode:
      return long_prefill_in_decode();
    case Workload::kStreams:
      break;
  }
  KVASIR_ASSIGN_OR_RETURN(const std::vector<std::string> prompts, stream_prompts(run));
  std::vector<Job> jobs;
  for (const std::string& prompt : prompts) jobs.push_back({0, prompt, num_stream_tokens()});
  return run_jobs(std::move(jobs), {""}, static_cast<int>(prompts.size()));
}

Result<std::vector<std::string>> LoadGenerator::stream_prompts(int run) {
  seed(Workload::kStreams, run);
  std::vector<std::string> prompts(scaled(64));
  for (std::string& prompt : prompts) {
    KVASIR_ASSIGN_OR_RETURN(prompt, prompts_.text(32));
  }
  return prompts;
}

// `num_users` users do the jobs, each taking the next one that nobody has.
Result<WorkloadRun> LoadGenerator::run_jobs(std::vector<Job> jobs, const std::vector<std::string>& phases,
                                            int num_users) {
  Crew crew(config_, num_users);
  std::size_t next = 0;
  const Crew::Act act = [&](int user) -> asio::awaitable<void> {
    while (next < jobs.size()) {
      const std::size_t mine = next++;
      const RawReply* reply = co_await crew.send(user, std::move(jobs[mine]));
      if (reply == nullptr) co_return;
    }
  };
  KVASIR_RETURN_IF_ERROR(crew.run(num_users, act));
  return crew.read(phases);
}

Result<WorkloadRun> LoadGenerator::distinct(int num_requests, int num_prompt_tokens, int num_tokens) {
  std::vector<Job> jobs;
  for (int i = 0; i < num_requests; ++i) {
    KVASIR_ASSIGN_OR_RETURN(std::string prompt, prompts_.text(fitted(num_prompt_tokens, num_tokens)));
    jobs.push_back({0, std::move(prompt), num_tokens});
  }
  return run_jobs(std::move(jobs), {""}, num_requests);
}

Result<WorkloadRun> LoadGenerator::rag() {
  constexpr int kQuestionTokens = 12, kNewTokens = 10;
  KVASIR_ASSIGN_OR_RETURN(const std::string context,
                          prompts_.text(fitted(scaled(470), kQuestionTokens + kNewTokens)));
  std::vector<Job> jobs;
  for (int i = 0; i < 1 + scaled(4); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const std::string question, prompts_.more_text(kQuestionTokens));
    jobs.push_back({i == 0 ? 0 : 1, context + question, kNewTokens});
  }
  return run_jobs(std::move(jobs), {"cold", "warm"}, 1);
}

Result<WorkloadRun> LoadGenerator::repeat() {
  constexpr int kNewTokens = 10;
  KVASIR_ASSIGN_OR_RETURN(const std::string prompt, prompts_.text(fitted(scaled(480), kNewTokens)));
  std::vector<Job> jobs;
  for (int i = 0; i < 1 + scaled(8); ++i) jobs.push_back({i == 0 ? 0 : 1, prompt, kNewTokens});
  return run_jobs(std::move(jobs), {"cold", "again"}, 1);
}

Result<WorkloadRun> LoadGenerator::system() {
  const int num_new_tokens = scaled(64), num_own_tokens = 32;
  KVASIR_ASSIGN_OR_RETURN(const std::string common,
                          prompts_.text(fitted(scaled(1024), num_own_tokens + num_new_tokens)));
  std::vector<Job> jobs;
  for (int i = 0; i < scaled(32); ++i) {
    KVASIR_ASSIGN_OR_RETURN(const std::string own, prompts_.more_text(num_own_tokens));
    jobs.push_back({0, common + own, num_new_tokens});
  }
  return run_jobs(std::move(jobs), {""}, scaled(16));
}

Result<WorkloadRun> LoadGenerator::branch() {
  constexpr int kNumBranches = 4, kOwnTokens = 32;
  const int num_new_tokens = scaled(32);
  KVASIR_ASSIGN_OR_RETURN(const std::string prefix,
                          prompts_.text(fitted(scaled(2048), kOwnTokens + num_new_tokens)));
  std::vector<Job> jobs;
  for (int i = 0; i < kNumBranches; ++i) {
    KVASIR_ASSIGN_OR_RETURN(const std::string own, prompts_.more_text(kOwnTokens));
    jobs.push_back({0, prefix + own, num_new_tokens});
  }
  return run_jobs(std::move(jobs), {""}, kNumBranches);
}

Result<WorkloadRun> LoadGenerator::chat() {
  constexpr int kNumTurns = 4, kFirstTokens = 64, kTurnTokens = 32;
  const int num_conversations = scaled(8), num_new_tokens = scaled(32);
  std::vector<std::vector<std::string>> says(num_conversations);  // what each user says in each turn
  for (std::vector<std::string>& turns : says) {
    KVASIR_ASSIGN_OR_RETURN(std::string first, prompts_.text(kFirstTokens));
    turns.push_back(std::move(first));
    while (turns.size() < kNumTurns) {
      KVASIR_ASSIGN_OR_RETURN(std::string more, prompts_.more_text(kTurnTokens));
      turns.push_back(std::move(more));
    }
  }
  Crew crew(config_, num_conversations);
  const Crew::Act act = [&](int user) -> asio::awaitable<void> {
    std::string said;
    for (int turn = 0; turn < kNumTurns; ++turn) {
      said += says[user][turn];
      Job job = {turn == 0 ? 0 : 1, said, num_new_tokens};
      const RawReply* reply = co_await crew.send(user, std::move(job));
      if (reply == nullptr) co_return;
      const Result<Completion> completion = read_completion(config_.dialect.api, *reply);
      if (!completion.ok()) {
        crew.fail(completion.status());
        co_return;
      }
      said += completion->text;
    }
  };
  KVASIR_RETURN_IF_ERROR(crew.run(num_conversations, act));
  return crew.read({"first turn", "later turns"});
}

Result<WorkloadRun> LoadGenerator::long_prefill_in_decode() {
  constexpr int kNumStreams = 4, kLongNewTokens = 8;
  const int num_new_tokens = scaled(128);
  std::vector<std::string> prompts(kNumStreams);
  for (std::string& prompt : prompts) {
    KVASIR_ASSIGN_OR_RETURN(prompt, prompts_.text(32));
  }
  KVASIR_ASSIGN_OR_RETURN(const std::string long_prompt, prompts_.text(fitted(scaled(2048), kLongNewTokens)));
  Crew crew(config_, kNumStreams + 1);
  const auto send_long = [&]() -> asio::awaitable<void> {
    Job job = {1, long_prompt, kLongNewTokens};
    co_await crew.send(kNumStreams, std::move(job));
  };
  std::vector<bool> is_decoding(kNumStreams);
  int num_decoding = 0;
  const Crew::Act act = [&](int user) -> asio::awaitable<void> {
    Job job = {0, prompts[user], num_new_tokens};
    std::function<void()> on_arrival = [&, user] {
      if (is_decoding[user]) return;
      is_decoding[user] = true;
      if (++num_decoding == kNumStreams) crew.spawn(send_long());
    };
    co_await crew.send(user, std::move(job), std::move(on_arrival));
  };
  KVASIR_RETURN_IF_ERROR(crew.run(kNumStreams, act));
  return crew.read({"decoding", "long prompt"});
}

}  // namespace kvasir::bench
