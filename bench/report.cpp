#include "bench/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/check.h"

namespace kvasir::bench {
namespace {

// Three digits that count, without an exponent.
std::string format_number(double value) {
  return fmt::format("{:.{}f}", value, value >= 100 ? 0 : value >= 10 ? 1 : value >= 1 ? 2 : 3);
}

}  // namespace

double Measurement::median() const {
  KVASIR_CHECK(!runs.empty());
  std::vector<double> sorted = runs;
  std::sort(sorted.begin(), sorted.end());
  return sorted[sorted.size() / 2];
}

double Measurement::minimum() const {
  return *std::min_element(runs.begin(), runs.end());
}

double Measurement::maximum() const {
  return *std::max_element(runs.begin(), runs.end());
}

double Measurement::spread() const {
  return (maximum() - minimum()) / median();
}

double Measurement::share() const {
  return limit.rate > 0 ? median() * limit.per_event / limit.rate : 0;
}

Report::Report(std::string machine) : machine_(std::move(machine)) {
  fmt::print("{}\n", machine_);
}

void Report::section(const std::string& title) {
  fmt::print("\n{:<42}{:>10}{:>10} {:<10}{:>10} {:<8}{:>10}{:>7}\n", title, "median", "best", "", "", "",
             "limit", "share");
}

void Report::add(Measurement m) {
  const bool is_rate = m.unit.ends_with("/s");
  fmt::print("{:<42}{:>10}{:>10} {:<10}", m.name, format_number(m.median()),
             format_number(is_rate ? m.maximum() : m.minimum()), m.unit);
  if (m.limit.rate > 0) {
    fmt::print("{:>10} {:<8}{:>10}{:>6.0f}%", format_number(m.median() * m.limit.per_event), m.limit.unit,
               format_number(m.limit.rate), 100 * m.share());
  }
  if (m.spread() > kLargeSpread) fmt::print("  spread {:.0f}%", 100 * m.spread());
  fmt::print("\n");
  std::fflush(stdout);
  measurements_.push_back(std::move(m));
}

Status Report::write_json(const std::string& path) const {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const Measurement& m : measurements_) {
    nlohmann::ordered_json row = {{"name", m.name},         {"unit", m.unit},         {"median", m.median()},
                                  {"minimum", m.minimum()}, {"maximum", m.maximum()}, {"spread", m.spread()},
                                  {"runs", m.runs}};
    if (m.limit.rate > 0) {
      row["limit"] = {{"unit", m.limit.unit},
                      {"rate", m.limit.rate},
                      {"reached", m.median() * m.limit.per_event},
                      {"share", m.share()}};
    }
    rows.push_back(std::move(row));
  }
  const nlohmann::ordered_json report = {{"machine", machine_}, {"measurements", rows}};
  return write_file(path, report.dump(2) + "\n");
}

Status write_file(const std::string& path, const std::string& content) {
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return error(StatusCode::kIo, "{}: {}", path, std::strerror(errno));
  const bool is_written = std::fwrite(content.data(), 1, content.size(), file) == content.size();
  const int number = errno;
  if (std::fclose(file) == 0 && is_written) return Status();
  return error(StatusCode::kIo, "{}: {}", path, std::strerror(is_written ? errno : number));
}

}  // namespace kvasir::bench
