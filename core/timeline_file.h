// A recording as a file of Chrome's trace events, for Perfetto. Not installed.
#pragma once

#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "core/timeline.h"

namespace reelm {

/// What stands above the events: {"version", "0.1.0"}.
using TimelineNotes = std::vector<std::pair<std::string, std::string>>;

/// Writes {"traceEvents": [...], "otherData": notes and what was dropped}: a thread_name for each
/// lane (numbered from 1, the first on top), its spans as complete events ("X", their kind as
/// "cat") with parents before children, counters ("C"). Times are microseconds since the recording
/// began, to the nanosecond. Appears whole, as PendingFile; no CancelToken is polled, because what
/// was recorded before a cancelling is worth having. Throws Error{kIo}.
void write_timeline(const TimelineRecording& recording, const std::string& process,
                    const TimelineNotes& notes, const std::filesystem::path& path);

}  // namespace reelm
