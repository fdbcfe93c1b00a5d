// What a process gives up before it reads a hostile file. Not installed.
#pragma once

#include <cstdint>

namespace reelm::preprocess {

/// True when the kernel can filter system calls.
bool can_confine() noexcept;

/// From here on the process may compute, use threads and memory (at most `memory_bytes` of its own
/// writable memory), read the descriptors it has, write to `socket` and standard error, and end.
/// Everything else (opening files, sockets, programs, processes, executable memory, signals to
/// others) is refused with EPERM. Not to be undone.
/// Throws Error{kUnsupported} naming what the system refused.
void confine_process(int socket, std::int64_t memory_bytes);

}  // namespace reelm::preprocess
