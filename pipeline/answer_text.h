// The text of an answer as the caller sees it. Not installed.
#pragma once

#include <string>

namespace reelm::pipeline {

/// Takes decoded text piece by piece. `trim` leaves out white space before and behind the whole, as
/// Python's str.strip does for ASCII: what may turn out to be the end is held back.
class AnswerText {
 public:
  explicit AnswerText(bool trim) : trim_(trim) {}

  /// What may be shown now.
  std::string push(const std::string& piece) {
    constexpr const char* kSpace = " \t\n\v\f\r";
    if (!trim_) return piece;
    held_ += piece;
    if (!begun_) held_.erase(0, held_.find_first_not_of(kSpace));
    const std::size_t end = held_.find_last_not_of(kSpace) + 1;  // 0 when there is nothing else
    begun_ |= end > 0;
    std::string out = held_.substr(0, end);
    held_.erase(0, end);
    return out;
  }

 private:
  bool trim_;
  bool begun_ = false;
  std::string held_;  // white space that nothing has come behind yet
};

}  // namespace reelm::pipeline
