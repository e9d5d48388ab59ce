#pragma once

// Line charts as SVG, to be looked at in a browser or a README.

#include <span>
#include <string>
#include <utility>
#include <vector>

namespace kvasir::bench {

struct Series {
  std::string name;
  std::vector<std::pair<double, double>> points;  // (x, y), x ascending
  bool is_limit = false;                          // drawn as a dashed grey line
};

struct Chart {
  std::string title, x_label, y_label;
  std::vector<Series> series;
};

// The charts side by side, as the text of an SVG file. x has a logarithmic axis with the points' values as
// its marks; y begins at 0. Requires: x > 0, y >= 0; at least one point in each chart.
std::string to_svg(std::span<const Chart> charts);

}  // namespace kvasir::bench
