#pragma once

// What a benchmark has measured, held against the machine: rows on the terminal as they come, and as JSON.

#include <string>
#include <vector>

#include "base/status.h"

namespace kvasir::bench {

// What the machine could do at most, for a value that counts events per second.
struct Limit {
  std::string unit;      // of the two numbers below, such as "GB/s"
  double rate = 0;       // the machine's; 0: not known
  double per_event = 0;  // what one event takes of it, such as 1.2 (GB)
};

struct Measurement {
  std::string name;          // such as "prefill of 512 tokens"
  std::string unit;          // such as "tokens/s"
  std::vector<double> runs;  // the value of each run, at least one
  Limit limit = {};

  double median() const;
  double minimum() const;
  double maximum() const;
  // (maximum - minimum) / median.
  double spread() const;
  // Of the limit, at the median; 0 without one.
  double share() const;
};

// Above this a row is marked: the machine was not quiet, or the benchmark is not good.
inline constexpr double kLargeSpread = 0.10;

class Report {
 public:
  // `machine`: describe_machine()'s line, printed first.
  explicit Report(std::string machine);

  // Prints a row; the table's head before the first one and after a section().
  void add(Measurement measurement);
  // Prints a line that opens a part of the table.
  void section(const std::string& title);

  const std::vector<Measurement>& measurements() const { return measurements_; }

  // {"machine", "measurements": [{"name", "unit", "median", "minimum", "maximum", "spread", "runs", "limit":
  // {"unit", "rate", "reached", "share"}}]}; no limit where there is none. Errors: kIo.
  Status write_json(const std::string& path) const;

 private:
  std::string machine_;
  std::vector<Measurement> measurements_;
};

// Writes a whole file. Errors: kIo.
Status write_file(const std::string& path, const std::string& content);

}  // namespace kvasir::bench
