#include "apps/contact_sheet.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <opencv2/core.hpp>
#include <opencv2/imgproc.hpp>

#include "apps/png.h"
#include "core/error.h"

namespace reelm::apps {

namespace {

constexpr int kGap = 4;              // pixels between tiles
constexpr int kCaptionHeight = 18;   // pixels below each tile
constexpr double kFontScale = 0.42;  // Hershey simplex at about 10 pixels
constexpr double kSheetPixels = 32e6;
constexpr std::int64_t kDefaultTileWidth = 320;
constexpr int kSideLimit = 30000;  // below libpng's and most viewers' limits

}  // namespace

struct ContactSheet::Impl {
  int columns;
  int tile_width;
  int tile_height;
  int next = 0;
  cv::Mat sheet;  // RGB
};

ContactSheet::ContactSheet(std::int64_t count, std::int64_t height, std::int64_t width,
                           std::int64_t columns, std::int64_t tile_width)
    : impl_(std::make_unique<Impl>()) {
  const double aspect = static_cast<double>(height) / static_cast<double>(width);
  double tile =
      static_cast<double>(tile_width > 0 ? tile_width : std::min(width, kDefaultTileWidth));
  const double area = static_cast<double>(count) * tile * (tile * aspect + kCaptionHeight);
  if (area > kSheetPixels) tile *= std::sqrt(kSheetPixels / area);
  impl_->tile_width = std::max(32, static_cast<int>(tile));
  impl_->tile_height = std::max(1, static_cast<int>(std::lround(impl_->tile_width * aspect)));
  const int cell_width = impl_->tile_width + kGap;
  const int cell_height = impl_->tile_height + kCaptionHeight + kGap;
  if (columns <= 0) {
    columns = std::llround(std::sqrt(static_cast<double>(count) * cell_height / cell_width));
  }
  impl_->columns = static_cast<int>(std::clamp<std::int64_t>(columns, 1, count));
  const auto rows = static_cast<int>((count + impl_->columns - 1) / impl_->columns);
  if (impl_->columns * static_cast<std::int64_t>(cell_width) > kSideLimit ||
      rows * static_cast<std::int64_t>(cell_height) > kSideLimit) {
    throw Error(ErrorCode::kLimit,
                fmt::format("a sheet of {} columns and {} rows is larger than {} pixels a side",
                            impl_->columns, rows, kSideLimit));
  }
  impl_->sheet = cv::Mat(rows * cell_height + kGap, impl_->columns * cell_width + kGap, CV_8UC3,
                         cv::Scalar(24, 24, 24));
}

ContactSheet::~ContactSheet() = default;

void ContactSheet::add(TensorView<const std::uint8_t> frame, const std::string& caption) {
  const cv::Mat source(static_cast<int>(frame.size(0)), static_cast<int>(frame.size(1)), CV_8UC3,
                       const_cast<std::uint8_t*>(frame.data()));
  const int x = kGap + impl_->next % impl_->columns * (impl_->tile_width + kGap);
  const int y = kGap + impl_->next / impl_->columns * (impl_->tile_height + kCaptionHeight + kGap);
  ++impl_->next;
  cv::Mat tile = impl_->sheet(cv::Rect(x, y, impl_->tile_width, impl_->tile_height));
  const bool smaller = impl_->tile_width < source.cols;
  cv::resize(source, tile, tile.size(), 0, 0, smaller ? cv::INTER_AREA : cv::INTER_NEAREST);
  cv::putText(impl_->sheet, caption, cv::Point(x + 2, y + impl_->tile_height + 13),
              cv::FONT_HERSHEY_SIMPLEX, kFontScale, cv::Scalar(235, 235, 235), 1, cv::LINE_AA);
}

std::vector<std::byte> ContactSheet::png() const {
  const cv::Mat& sheet = impl_->sheet;
  return encode_png(
      {sheet.data, {sheet.rows, sheet.cols, 3}, {static_cast<std::int64_t>(sheet.step), 3, 1}});
}

std::string format_time(double seconds) {
  const char* sign = seconds < 0 ? "-" : "";
  const auto total = static_cast<std::int64_t>(std::llround(std::abs(seconds) * 1000.0));
  const std::int64_t s = total / 1000;
  if (s >= 3600) {
    return fmt::format("{}{}:{:02}:{:02}.{:03}", sign, s / 3600, s / 60 % 60, s % 60, total % 1000);
  }
  return fmt::format("{}{}:{:02}.{:03}", sign, s / 60, s % 60, total % 1000);
}

}  // namespace reelm::apps
