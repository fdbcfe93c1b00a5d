// Standard input, line by line.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

namespace reelm::apps {

class LineReader {
 public:
  /// Lines of about `limit` bytes at most.
  explicit LineReader(std::int64_t limit) : limit_(limit) {}

  /// The next line without its end ("\n", "\r\n"), as soon as it is whole; none at the end of
  /// input. Throws Error: kLimit for a line that is too long, kIo, kCancelled.
  std::optional<std::string> next();

 private:
  /// Waits for more and appends it to pending_; false at the end of input.
  bool fill();

  std::int64_t limit_;
  std::string pending_;  // read, but not yet given
};

}  // namespace reelm::apps
