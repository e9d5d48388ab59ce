#include "bench/serve_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <numeric>

namespace kvasir::bench {
namespace {

using nlohmann::ordered_json;

// Beyond this a median stands on little.
constexpr double kWideSpread = 0.1;

struct Metric {
  const char* name;
  std::optional<double> PhaseMetrics::*value;
};
constexpr Metric kMetrics[] = {
    {"requests", &PhaseMetrics::requests},
    {"seconds", &PhaseMetrics::seconds},
    {"ttft_p50_ms", &PhaseMetrics::ttft_p50_ms},
    {"ttft_p95_ms", &PhaseMetrics::ttft_p95_ms},
    {"ttft_p99_ms", &PhaseMetrics::ttft_p99_ms},
    {"inter_token_mean_ms", &PhaseMetrics::inter_token_mean_ms},
    {"inter_token_p50_ms", &PhaseMetrics::inter_token_p50_ms},
    {"inter_token_p95_ms", &PhaseMetrics::inter_token_p95_ms},
    {"inter_token_p99_ms", &PhaseMetrics::inter_token_p99_ms},
    {"inter_token_max_ms", &PhaseMetrics::inter_token_max_ms},
    {"requests_per_s", &PhaseMetrics::requests_per_s},
    {"output_tokens_per_s", &PhaseMetrics::output_tokens_per_s},
    {"output_tokens", &PhaseMetrics::output_tokens},
    {"prompt_tokens", &PhaseMetrics::prompt_tokens},
    {"cached_tokens", &PhaseMetrics::cached_tokens},
    {"computed_tokens", &PhaseMetrics::computed_tokens},
};

// Requires: values are sorted and not empty.
double percentile(const std::vector<double>& sorted, double share) {
  return sorted[static_cast<std::size_t>(share * static_cast<double>(sorted.size() - 1) + 0.5)];
}

std::optional<double> median_of(std::vector<double> values) {
  if (values.empty()) return std::nullopt;
  std::sort(values.begin(), values.end());
  return percentile(values, 0.5);
}

std::vector<double> values_of(const std::vector<PhaseMetrics>& runs,
                              std::optional<double> PhaseMetrics::*value) {
  std::vector<double> values;
  for (const PhaseMetrics& run : runs) {
    if (run.*value) values.push_back(*(run.*value));
  }
  return values;
}

double spread_of(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  const double median = *median_of(values);
  return median > 0 ? (*most - *least) / median : 0;
}

ordered_json json_of(const PhaseMetrics& metrics) {
  ordered_json json = ordered_json::object();
  for (const Metric& metric : kMetrics) {
    const std::optional<double> value = metrics.*metric.value;
    json[metric.name] = value ? ordered_json(*value) : ordered_json();
  }
  return json;
}

// "-" for what is not known.
std::string cell(std::optional<double> value) {
  if (!value) return "-";
  return fmt::format("{:.{}f}", *value, *value < 10 ? 2 : *value < 1000 ? 1 : 0);
}

std::string count_cell(std::optional<double> value) {
  return value ? fmt::format("{:.0f}", *value) : "-";
}

}  // namespace

PhaseMetrics measure(const Phase& phase) {
  PhaseMetrics metrics;
  std::vector<double> ttft, gaps;
  TimePoint begin = TimePoint::max(), end = TimePoint::min();
  double output = 0, prompt = 0, cached = 0;
  bool says_prompt = true, says_cached = true;
  for (const Completion& each : phase.completions) {
    begin = std::min(begin, each.sent);
    end = std::max(end, each.ended);
    ttft.push_back(each.ttft_ms());
    for (std::size_t i = 1; i < each.token_times.size(); ++i) {
      gaps.push_back(elapsed_ms(each.token_times[i - 1], each.token_times[i]));
    }
    output += each.num_output_tokens;
    prompt += each.num_prompt_tokens.value_or(0);
    cached += each.num_cached_tokens.value_or(0);
    says_prompt &= each.num_prompt_tokens.has_value();
    says_cached &= each.num_cached_tokens.has_value();
  }
  std::sort(ttft.begin(), ttft.end());
  std::sort(gaps.begin(), gaps.end());
  metrics.requests = static_cast<double>(phase.completions.size());
  metrics.seconds = elapsed_ms(begin, end) / 1000;
  metrics.ttft_p50_ms = percentile(ttft, 0.5);
  metrics.ttft_p95_ms = percentile(ttft, 0.95);
  metrics.ttft_p99_ms = percentile(ttft, 0.99);
  if (!gaps.empty()) {
    metrics.inter_token_mean_ms =
        std::accumulate(gaps.begin(), gaps.end(), 0.0) / static_cast<double>(gaps.size());
    metrics.inter_token_p50_ms = percentile(gaps, 0.5);
    metrics.inter_token_p95_ms = percentile(gaps, 0.95);
    metrics.inter_token_p99_ms = percentile(gaps, 0.99);
    metrics.inter_token_max_ms = gaps.back();
  }
  metrics.requests_per_s = *metrics.requests / *metrics.seconds;
  metrics.output_tokens_per_s = output / *metrics.seconds;
  metrics.output_tokens = output;
  if (says_prompt) metrics.prompt_tokens = prompt;
  if (says_cached) metrics.cached_tokens = cached;
  if (says_prompt && says_cached) metrics.computed_tokens = prompt - cached;
  return metrics;
}

PhaseMetrics PhaseReport::median() const {
  PhaseMetrics median;
  for (const Metric& metric : kMetrics) median.*metric.value = median_of(values_of(runs, metric.value));
  return median;
}

double PhaseReport::spread() const {
  return std::max(spread_of(values_of(runs, &PhaseMetrics::ttft_p50_ms)),
                  spread_of(values_of(runs, &PhaseMetrics::output_tokens_per_s)));
}

void ServeReport::add(Workload workload, const WorkloadRun& run) {
  for (const Phase& phase : run.phases) {
    const auto found = std::find_if(phases.begin(), phases.end(), [&](const PhaseReport& each) {
      return each.workload == workload && each.phase == phase.name;
    });
    PhaseReport& report =
        found == phases.end() ? phases.emplace_back(PhaseReport{workload, phase.name, {}}) : *found;
    report.runs.push_back(measure(phase));
  }
}

void ServeReport::add_streams(const WorkloadRun& run, double engine_rate) {
  http_tokens_per_s.push_back(*measure(run.phases.front()).output_tokens_per_s);
  engine_tokens_per_s.push_back(engine_rate);
}

std::string ServeReport::table() const {
  std::string out =
      fmt::format("{}\n{}medians of {} runs, seed {}{}\n\n", server, machine.empty() ? "" : machine + "\n",
                  num_runs, seed, is_quick ? ", a quarter of each workload" : "");
  out += fmt::format("{:<36}{:>5}{:>27}{:>36}{:>9}{:>10}{:>18}\n", "", "", "first token, ms",
                     "between tokens, ms", "requests", "output", "prompt tokens");
  out += fmt::format("{:<36}{:>5}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>9}{:>9}\n", "workload", "n",
                     "p50", "p95", "p99", "p50", "p95", "p99", "max", "/s", "tokens/s", "computed", "cached");
  for (const PhaseReport& report : phases) {
    const PhaseMetrics m = report.median();
    const std::string name =
        fmt::format("{}{}{}", name_of(report.workload), report.phase.empty() ? "" : ", ", report.phase);
    out += fmt::format("{:<36}{:>5}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>9}{:>10}{:>9}{:>9}", name,
                       count_cell(m.requests), cell(m.ttft_p50_ms), cell(m.ttft_p95_ms), cell(m.ttft_p99_ms),
                       cell(m.inter_token_p50_ms), cell(m.inter_token_p95_ms), cell(m.inter_token_p99_ms),
                       cell(m.inter_token_max_ms), cell(m.requests_per_s), cell(m.output_tokens_per_s),
                       count_cell(m.computed_tokens), count_cell(m.cached_tokens));
    if (report.spread() > kWideSpread) out += fmt::format("  runs differ by {:.0f}%", 100 * report.spread());
    out += '\n';
  }
  if (!engine_tokens_per_s.empty()) {
    const double http = *median_of(http_tokens_per_s), engine = *median_of(engine_tokens_per_s);
    out += fmt::format("\nstreams over HTTP: {:.0f} tokens/s, the engine alone {:.0f}: {:.0f}%\n", http,
                       engine, 100 * http / engine);
  }
  return out;
}

ordered_json ServeReport::json() const {
  ordered_json json;
  json["server"] = server;
  json["machine"] = machine;
  json["num_runs"] = num_runs;
  json["seed"] = seed;
  json["is_quick"] = is_quick;
  json["workloads"] = ordered_json::array();
  for (const PhaseReport& report : phases) {
    ordered_json entry;
    entry["workload"] = name_of(report.workload);
    entry["phase"] = report.phase;
    entry["median"] = json_of(report.median());
    entry["spread"] = report.spread();
    for (const PhaseMetrics& run : report.runs) entry["runs"].push_back(json_of(run));
    json["workloads"].push_back(std::move(entry));
  }
  if (!engine_tokens_per_s.empty()) {
    const double http = *median_of(http_tokens_per_s), engine = *median_of(engine_tokens_per_s);
    json["streams"] = {
        {"http_tokens_per_s", http}, {"engine_tokens_per_s", engine}, {"ratio", http / engine}};
  }
  return json;
}

}  // namespace kvasir::bench
