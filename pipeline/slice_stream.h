// The slices of a turn's media in prompt order, read ahead by a thread of their own. Not installed.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/bounded_queue.h"
#include "core/cancel.h"
#include "core/patch_batch.h"
#include "pipeline/turn.h"
#include "preprocess/patch_reader.h"

namespace reelm::pipeline {

/// What is known of a medium once its last slice is read.
struct MediumEnd {
  preprocess::StageTimes times;
  std::vector<std::string> warnings;
};

/// One slice with its pixels.
struct Slice {
  std::size_t medium = 0;        ///< number of its medium in the turn
  PatchBatch patches;            ///< a view of `pixels`, [h*w, patch_dim]
  std::optional<MediumEnd> end;  ///< with the last slice of a medium
  AlignedBuffer<float> pixels;   ///< at least as large as the view
};

/// Where slices come from, one after the other, in the calling thread.
class SliceSource {
 public:
  virtual ~SliceSource() = default;
  /// Slices in all.
  virtual std::int64_t size() const = 0;
  /// Reads the next slice into `slice`, whose buffer is used again; false after the last.
  virtual bool next(Slice& slice) = 0;
};

/// All slices of all media.
class MediaSlices final : public SliceSource {
 public:
  /// `media` and `cancel` (may be null) outlive the reader.
  MediaSlices(std::span<PlannedMedium> media, const preprocess::PreprocessorConfig& config,
              const Limits& limits, const CancelToken* cancel);

  std::int64_t size() const override;
  /// Throws as PatchReader.
  bool next(Slice& slice) override;

 private:
  std::span<PlannedMedium> media_;
  const preprocess::PreprocessorConfig& config_;
  const Limits& limits_;
  const CancelToken* cancel_;
  std::size_t medium_ = 0;
  std::int64_t done_ = 0;  // slices of it
  std::optional<preprocess::PatchReader> reader_;
};

/// The slices of a source, one of them read ahead: while the caller works on a slice, a thread
/// reads the next. The first is read by the caller, who has nothing else to do, with all cores; so
/// a turn of a single slice starts no thread. The thread's own loops are serial: a second team
/// beside the encoder's would take the cores from it. At most kSlices are in memory; their buffers
/// go round.
class SliceStream {
 public:
  /// Slices in memory: the caller's, and the one that is read or waits.
  static constexpr std::size_t kSlices = 2;

  /// Without `overlap` every slice is read by the caller. `source` outlives the stream and polls
  /// `stop`, which outlives it too: the request's cancelling, and the stream's own end.
  SliceStream(SliceSource& source, CancelToken& stop, bool overlap);
  /// Cancels `stop`, so that the thread ends wherever it is, and waits for it.
  ~SliceStream();
  SliceStream(const SliceStream&) = delete;
  SliceStream& operator=(const SliceStream&) = delete;

  /// The next slice, valid until the next call; null after the last. Throws what reading it threw,
  /// in its place in the order; kCancelled; kOutOfMemory (no thread). Not to be called after that.
  const Slice* next();

 private:
  void start();
  void read_ahead(int threads) noexcept;
  std::optional<std::unique_ptr<Slice>> next_empty();
  std::optional<std::unique_ptr<Slice>> next_ready();
  /// How full the queues are, for who records.
  void note_depths() const;

  SliceSource& source_;
  CancelToken& stop_;
  const bool overlap_;
  bool begun_ = false;
  std::unique_ptr<Slice> current_ = std::make_unique<Slice>();
  BoundedQueue<std::unique_ptr<Slice>> empty_{kSlices};  // to be filled
  BoundedQueue<std::unique_ptr<Slice>> ready_{kSlices};
  std::thread thread_;
};

}  // namespace reelm::pipeline
