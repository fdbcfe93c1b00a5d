#include "bench/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>
#include <string>

#include "apps/png.h"

namespace reelm::bench {

namespace {

constexpr int kWidth = 1500, kHeight = 760, kMargin = 70, kMiddle = 700;
const cv::Scalar kInk(40, 40, 40), kGrid(222, 222, 222);
// RGB, easy to tell apart for most eyes (Okabe and Ito).
const cv::Scalar kColours[] = {{0, 114, 178}, {230, 159, 0},   {0, 158, 115},
                               {213, 94, 0},  {204, 121, 167}, {86, 180, 233}};

void text(cv::Mat& to, const std::string& words, int x, int y, double scale = 0.45) {
  cv::putText(to, words, cv::Point(x, y), cv::FONT_HERSHEY_SIMPLEX, scale, kInk, 1, cv::LINE_AA);
}

/// Shares of the time of one run, parts below their stage in the same colour.
void draw_shares(cv::Mat& to, const Report& report) {
  double whole = 0.0;
  const auto weight = [&](const Row& row) {
    const bool step = row.stage.starts_with("decode_token") || row.stage == "sampling";
    return row.median_ms * (step ? static_cast<double>(report.new_tokens) : 1.0);
  };
  for (const Row& row : report.rows) {
    if (row.stage.find('.') == std::string::npos) whole += weight(row);
  }
  if (whole <= 0.0) return;
  text(to, "share of one run (decode_token: of all tokens)", kMargin, 40, 0.55);
  const int rows = static_cast<int>(report.rows.size());
  const int step = std::max(12, (kHeight - 90) / std::max(rows, 1));
  int y = 60, colour = -1;
  for (const Row& row : report.rows) {
    const std::size_t dot = row.stage.find('.');
    if (dot == std::string::npos) ++colour;
    const double share = weight(row) / whole;
    const int length = std::max(1, static_cast<int>(share * (kMiddle - 330)));
    cv::Scalar paint = kColours[std::max(colour, 0) % 6];
    if (dot != std::string::npos) paint = paint * 0.5 + cv::Scalar(255, 255, 255) * 0.5;
    cv::rectangle(to, cv::Rect(210, y, length, std::max(4, step - 4)), paint, cv::FILLED);
    const std::string name =
        dot == std::string::npos ? row.stage : "  " + row.stage.substr(dot + 1);
    text(to, name, 30, y + step - 5, 0.42);
    text(to, fmt::format("{:.1f} %", share * 100), 216 + length, y + step - 5, 0.42);
    y += step;
  }
}

/// Place of (operations per byte, GFLOP/s) on logarithmic axes.
struct Axes {
  double x_low = -2, x_high = 4, y_low = -2, y_high = 4;  // powers of ten

  cv::Point at(double intensity, double gflops) const {
    const double x = (std::log10(intensity) - x_low) / (x_high - x_low);
    const double y = (std::log10(gflops) - y_low) / (y_high - y_low);
    const int left = kMiddle + kMargin + 20, right = kWidth - 40;
    const int bottom = kHeight - kMargin, top = 60;
    return {left + static_cast<int>(std::clamp(x, 0.0, 1.0) * (right - left)),
            bottom - static_cast<int>(std::clamp(y, 0.0, 1.0) * (bottom - top))};
  }
};

void draw_roof(cv::Mat& to, const Axes& axes, double gflops, double gbps, const std::string& name) {
  const double ridge = gflops / gbps;
  const double left = std::pow(10, axes.x_low), right = std::pow(10, axes.x_high);
  cv::line(to, axes.at(left, left * gbps), axes.at(ridge, gflops), kInk, 2, cv::LINE_AA);
  cv::line(to, axes.at(ridge, gflops), axes.at(right, gflops), kInk, 2, cv::LINE_AA);
  const cv::Point end = axes.at(right, gflops);
  text(to, fmt::format("{} {:.0f}", name, gflops), end.x - 120, end.y - 8, 0.42);
}

void draw_roofline(cv::Mat& to, const Report& report) {
  const Axes axes;
  text(to, "roofline: operations per byte, GFLOP/s", kMiddle + kMargin, 40, 0.55);
  for (int power = -2; power <= 4; ++power) {
    const double value = std::pow(10, power);
    const cv::Point x = axes.at(value, 0.01), top = axes.at(value, 1e4);
    const cv::Point y = axes.at(0.01, value), right = axes.at(1e4, value);
    cv::line(to, x, top, kGrid, 1);
    cv::line(to, y, right, kGrid, 1);
    text(to, fmt::format("{:g}", value), x.x - 12, x.y + 20, 0.4);
    text(to, fmt::format("{:g}", value), y.x - 52, y.y + 5, 0.4);
  }
  const Ceilings& c = report.ceilings;
  draw_roof(to, axes, c.f32.rate, c.read.rate, "f32");
  if (c.native_bf16) draw_roof(to, axes, c.bf16.rate, c.read.rate, "bf16");
  int colour = -1;
  for (const Row& row : report.rows) {
    const std::size_t dot = row.stage.find('.');
    if (dot == std::string::npos) ++colour;
    if (row.flop <= 0.0 || row.bytes <= 0.0 || row.median_ms <= 0.0) continue;
    const cv::Point place = axes.at(row.flop / row.bytes, row.flop / row.median_ms * 1e-6);
    cv::circle(to, place, dot == std::string::npos ? 7 : 4, kColours[std::max(colour, 0) % 6],
               cv::FILLED, cv::LINE_AA);
    if (dot == std::string::npos) text(to, row.stage, place.x + 9, place.y + 4, 0.42);
  }
}

}  // namespace

std::vector<std::byte> plot_png(const Report& report) {
  cv::Mat picture(kHeight, kWidth, CV_8UC3, cv::Scalar(255, 255, 255));
  draw_shares(picture, report);
  draw_roofline(picture, report);
  text(picture,
       fmt::format("{}, {}, {} threads: {} {}", report.machine.cpu, report.machine.isa,
                   report.machine.threads, report.model, report.dtype),
       kMargin, kHeight - 14, 0.45);
  return apps::encode_png({picture.data,
                           {picture.rows, picture.cols, 3},
                           {static_cast<std::int64_t>(picture.step), 3, 1}});
}

}  // namespace reelm::bench
