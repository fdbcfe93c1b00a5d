#include "pipeline/verify_row.h"

#include <cmath>
#include <limits>
#include <utility>

#include "core/throw.h"

namespace reelm::pipeline {

VerifyRow compare(std::string stage, std::span<const float> ours,
                  std::span<const float> reference) {
  constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();
  VerifyRow row{std::move(stage), kNaN, kNaN, kNaN, 0.0, "", false};
  if (ours.size() != reference.size() || ours.empty()) {
    row.stage += fmt::format(" ({} values, expected {})", ours.size(), reference.size());
    return row;
  }
  double largest = 0.0, sum = 0.0, difference = 0.0, squares = 0.0, norm = 0.0;
  std::size_t exact = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    const double a = ours[i];
    const double b = reference[i];
    const double d = a - b;
    // A NaN on either side must stay visible: max() would drop it.
    if (std::isnan(d)) largest = kNaN;
    if (std::abs(d) > largest) largest = std::abs(d);
    sum += a;
    difference += d;
    squares += d * d;
    norm += b * b;
    exact += static_cast<std::size_t>(a == b);
  }
  row.max_abs = largest;
  row.relative_l2 = norm > 0.0 ? std::sqrt(squares / norm) : std::sqrt(squares);
  row.signed_error = difference == 0.0 ? 0.0 : difference / sum;
  row.exact_fraction = static_cast<double>(exact) / static_cast<double>(ours.size());
  return row;
}

VerifyRow with_l2_bound(VerifyRow row, double bound) {
  row.bound = fmt::format("relative L2 <= {:.0e}", bound);
  // Written so that NaN fails.
  row.pass = row.relative_l2 <= bound && row.max_abs <= std::numeric_limits<double>::max();
  return row;
}

}  // namespace reelm::pipeline
