#include "bench/chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>
#include <set>

#include "base/check.h"

namespace kvasir::bench {
namespace {

constexpr double kWidth = 560, kHeight = 380;                       // of a chart
constexpr double kLeft = 72, kRight = 24, kTop = 48, kBottom = 92;  // of its margins
constexpr const char* kColors[] = {"#0b6e99", "#d9730d", "#448361", "#9065b0", "#c14c8a"};
constexpr const char* kLimitColor = "#8a8a8a";

std::string escape(const std::string& text) {
  std::string escaped;
  for (const char c : text) {
    if (c == '&')
      escaped += "&amp;";
    else if (c == '<')
      escaped += "&lt;";
    else
      escaped += c;
  }
  return escaped;
}

// The smallest of 1, 2, 5 times a power of ten with which at most six marks reach `largest`.
double mark_distance(double largest) {
  double distance = std::pow(10, std::floor(std::log10(largest / 6)));
  for (const double factor : {2.0, 2.5, 2.0}) {
    if (distance * 6 < largest) distance *= factor;
  }
  return distance;
}

class Drawing {
 public:
  Drawing(const Chart& chart, double x_offset, std::string& out) : chart_(chart), x_(x_offset), out_(out) {
    double y_max = 0;
    for (const Series& series : chart.series) {
      for (const auto& [x, y] : series.points) {
        marks_.insert(x);
        y_max = std::max(y_max, y);
      }
    }
    KVASIR_CHECK(!marks_.empty() && *marks_.begin() > 0);
    y_step_ = mark_distance(y_max > 0 ? y_max : 1);
    y_end_ = std::ceil(y_max / y_step_ * 1.02) * y_step_;
  }

  void draw() {
    text(kLeft, 26, "start", escape(chart_.title), "font-size=\"15\" font-weight=\"600\"");
    axes();
    int color = 0;
    double legend_x = kLeft;
    for (const Series& series : chart_.series) {
      const char* stroke =
          series.is_limit ? kLimitColor : kColors[static_cast<std::size_t>(color++) % std::size(kColors)];
      line(series, stroke);
      legend_x += legend(series, stroke, legend_x);
    }
  }

 private:
  double x_of(double x) const {
    const double first = std::log(*marks_.begin()), last = std::log(*marks_.rbegin());
    const double share = last > first ? (std::log(x) - first) / (last - first) : 0.5;
    return x_ + kLeft + (kWidth - kLeft - kRight) * share;
  }
  double y_of(double y) const { return kHeight - kBottom - (kHeight - kTop - kBottom) * y / y_end_; }

  void text(double x, double y, const char* anchor, const std::string& content, const char* attributes = "") {
    out_ += fmt::format("<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\" {}>{}</text>\n", x_ + x, y,
                        anchor, attributes, content);
  }

  void axes() {
    const double left = x_ + kLeft, right = x_ + kWidth - kRight, bottom = kHeight - kBottom;
    for (double y = 0; y <= y_end_ * 1.001; y += y_step_) {
      out_ += fmt::format("<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\"/>\n",
                          left, right, y_of(y), y_of(y), y == 0 ? "#444" : "#e4e4e4");
      text(kLeft - 8, y_of(y) + 4, "end", fmt::format("{:g}", y));
    }
    for (const double x : marks_) {
      out_ +=
          fmt::format("<line x1=\"{0:.1f}\" x2=\"{0:.1f}\" y1=\"{1:.1f}\" y2=\"{2:.1f}\" stroke=\"#444\"/>\n",
                      x_of(x), bottom, bottom + 5);
      text(x_of(x) - x_, bottom + 19, "middle", fmt::format("{:g}", x));
    }
    text(kLeft + (kWidth - kLeft - kRight) / 2, bottom + 40, "middle", escape(chart_.x_label));
    out_ += fmt::format(
        "<text transform=\"translate({:.1f} {:.1f}) rotate(-90)\" text-anchor=\"middle\">{}</text>\n",
        x_ + 18, kTop + (kHeight - kTop - kBottom) / 2, escape(chart_.y_label));
  }

  void line(const Series& series, const char* stroke) {
    std::string points;
    for (const auto& [x, y] : series.points) points += fmt::format("{:.1f},{:.1f} ", x_of(x), y_of(y));
    out_ += fmt::format("<polyline points=\"{}\" fill=\"none\" stroke=\"{}\" stroke-width=\"2\"{}/>\n",
                        points, stroke, series.is_limit ? " stroke-dasharray=\"5 4\"" : "");
    if (series.is_limit) return;
    for (const auto& [x, y] : series.points) {
      out_ += fmt::format(
          "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" fill=\"{}\"><title>{:g}: {:g}</title></circle>\n",
          x_of(x), y_of(y), stroke, x, y);
    }
  }

  // Returns the width that it takes.
  double legend(const Series& series, const char* stroke, double x) {
    const double y = kHeight - 18;
    out_ += fmt::format(
        "<line x1=\"{:.1f}\" x2=\"{:.1f}\" y1=\"{:.1f}\" y2=\"{:.1f}\" stroke=\"{}\" "
        "stroke-width=\"2\"{}/>\n",
        x_ + x, x_ + x + 22, y - 4, y - 4, stroke, series.is_limit ? " stroke-dasharray=\"5 4\"" : "");
    text(x + 28, y, "start", escape(series.name));
    return 28 + 7.0 * static_cast<double>(series.name.size()) + 18;  // a letter is at most 7 wide on average
  }

  const Chart& chart_;
  const double x_;
  std::string& out_;
  std::set<double> marks_;
  double y_step_ = 1, y_end_ = 1;
};

}  // namespace

std::string to_svg(std::span<const Chart> charts) {
  const double width = kWidth * static_cast<double>(charts.size());
  std::string out = fmt::format(
      "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {0:g} {1:g}\" width=\"{0:g}\" "
      "height=\"{1:g}\" "
      "font-family=\"system-ui, sans-serif\" font-size=\"12\" fill=\"#222\">\n"
      "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n",
      width, kHeight);
  for (std::size_t i = 0; i < charts.size(); ++i) {
    Drawing(charts[i], kWidth * static_cast<double>(i), out).draw();
  }
  return out + "</svg>\n";
}

}  // namespace kvasir::bench
