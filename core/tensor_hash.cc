#include "core/tensor_hash.h"

#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <vector>

#include "core/parallel.h"
#include "core/throw.h"
#include "core/timeline.h"

namespace reelm {

namespace {

constexpr std::size_t kPiece = std::size_t{4} << 20;

struct Piece {
  std::size_t tensor;
  std::span<const std::byte> bytes;
};

/// Whether the pages can be read. One call for 4 MB instead of a fault every 64 KB (4 GB on a busy
/// machine: 0.03 to 0.06 s instead of 0.05 to 0.35 s), and an error, not a signal, where the mapped
/// file has become shorter.
bool populate(std::span<const std::byte> bytes) noexcept {
#ifdef MADV_POPULATE_READ
  const auto page = static_cast<std::uintptr_t>(::sysconf(_SC_PAGESIZE));
  const auto address = reinterpret_cast<std::uintptr_t>(bytes.data());
  const std::uintptr_t begin = address / page * page;
  const std::size_t size = address + bytes.size() - begin;
  while (::madvise(reinterpret_cast<void*>(begin), size, MADV_POPULATE_READ) != 0) {
    if (errno == EINTR || errno == EAGAIN) continue;
    return errno != EFAULT && errno != EHWPOISON;  // EINVAL: a kernel before 5.14
  }
#else
  (void)bytes;
#endif
  return true;
}

void append(std::string& out, std::uint64_t value) {
  for (int i = 0; i < 8; ++i) out += static_cast<char>(value >> 8 * i);
}

}  // namespace

std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept {
  return XXH3_64bits(bytes.data(), bytes.size());
}

std::uint64_t hash_tensors(std::span<const StoredTensor> tensors, const CancelToken* cancel) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const auto bytes = tensors[i].bytes;
    for (std::size_t at = 0; at < bytes.size(); at += kPiece) {
      pieces.push_back({i, bytes.subspan(at, std::min(kPiece, bytes.size() - at))});
    }
  }
  TimelineSpan span("checksum", SpanKind::kStage);
  if (span.recorded()) {
    std::int64_t bytes = 0;
    for (const Piece& piece : pieces) bytes += std::ssize(piece.bytes);
    span.tell({.bytes = bytes});
  }
  std::vector<std::uint64_t> hashes(pieces.size());
  const std::size_t none = tensors.size();
  std::atomic<std::size_t> unreadable{none};
  parallel_for_dynamic(std::ssize(pieces), 1, [&](std::int64_t begin, std::int64_t end) {
    for (auto i = static_cast<std::size_t>(begin); i < static_cast<std::size_t>(end); ++i) {
      if (cancel != nullptr) cancel->check();
      if (populate(pieces[i].bytes)) {
        hashes[i] = hash_bytes(pieces[i].bytes);
      } else {
        unreadable = pieces[i].tensor;
      }
    }
  });
  if (unreadable != none) {
    throw_error(ErrorCode::kIo,
                "tensor '{}' cannot be read: its file became shorter, or the disk "
                "has an error",
                tensors[unreadable].name);
  }
  std::string summary;
  for (std::size_t i = 0, piece = 0; i < tensors.size(); ++i) {
    const StoredTensor& tensor = tensors[i];
    append(summary, tensor.name.size());
    summary.append(tensor.name).append(dtype_name(tensor.dtype)).append(shape_string(tensor.shape));
    for (; piece < pieces.size() && pieces[piece].tensor == i; ++piece) {
      append(summary, hashes[piece]);
    }
  }
  return hash_bytes(std::as_bytes(std::span(summary)));
}

std::string hash_string(std::uint64_t hash) { return fmt::format("{:016x}", hash); }

}  // namespace reelm
