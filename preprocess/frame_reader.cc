#include "preprocess/frame_reader.h"

#include <utility>

#include "core/throw.h"
#include "preprocess/frame_source.h"

namespace reelm::preprocess {

struct FrameReader::Impl {
  Impl(Media& from, std::vector<std::int64_t> wanted, const Limits& most, const CancelToken* token,
       const Options& how)
      : media(from), indices(std::move(wanted)), limits(most), cancel(token), options(how) {
    check_indices();
    if (!indices.empty()) source = make_source({media, indices, limits, cancel, options});
    update_times();
  }

  void check_indices() {
    const std::int64_t total = media.is_image() ? 1 : media.frame_index(cancel).size();
    for (std::size_t i = 0; i < indices.size(); ++i) {
      if (indices[i] < 0 || indices[i] >= total || (i > 0 && indices[i] < indices[i - 1])) {
        throw_error(ErrorCode::kInvalidArgument,
                    "{}: frame {} asked for, expected rising numbers below {}", media.info().name,
                    indices[i], total);
      }
    }
  }

  static std::unique_ptr<FrameSource> make_source(const FrameOrder& order) {
    if (order.media.impl().remote) return make_remote_frames(order);
    if (order.media.impl().animation) return make_animation_frames(order);
    return order.media.is_image() ? make_image_frames(order) : make_video_frames(order);
  }

  void update_times() {
    if (source) times = source->times();
    times.open += media.open_ms();
    times.scan = media.scan_ms();
  }

  void finish() {
    if (source && !std::exchange(finished, true)) source->finish(warnings);
  }

  Media& media;
  std::vector<std::int64_t> indices;
  Limits limits;
  const CancelToken* cancel;
  Options options;
  std::unique_ptr<FrameSource> source;  // null: no frames asked for
  std::size_t next = 0;                 // into indices
  RgbFrame current;
  bool finished = false;
  StageTimes times;
  std::vector<std::string> warnings;
};

FrameReader::FrameReader(Media& media, std::vector<std::int64_t> indices, const Limits& limits,
                         const CancelToken* cancel)
    : FrameReader(media, std::move(indices), limits, cancel, Options()) {}

FrameReader::FrameReader(Media& media, std::vector<std::int64_t> indices, const Limits& limits,
                         const CancelToken* cancel, const Options& options)
    : impl_(std::make_unique<Impl>(media, std::move(indices), limits, cancel, options)) {}

FrameReader::FrameReader(FrameReader&&) noexcept = default;
FrameReader& FrameReader::operator=(FrameReader&&) noexcept = default;
FrameReader::~FrameReader() = default;

const std::vector<std::string>& FrameReader::warnings() const noexcept { return impl_->warnings; }
const StageTimes& FrameReader::times() const noexcept { return impl_->times; }
std::int64_t FrameReader::frames_decoded() const noexcept {
  return impl_->source ? impl_->source->frames_decoded() : 0;
}
std::int64_t FrameReader::seeks() const noexcept {
  return impl_->source ? impl_->source->seeks() : 0;
}

bool FrameReader::next(RgbFrame& frame) {
  Impl& m = *impl_;
  if (m.cancel != nullptr) m.cancel->check();
  if (m.next == m.indices.size()) return false;
  const std::int64_t index = m.indices[m.next];
  const bool again = m.next > 0 && m.indices[m.next - 1] == index;
  if (!again) {
    m.source->read(index, m.current);
    m.current.index = index;
  }
  if (++m.next == m.indices.size()) m.finish();
  m.update_times();
  frame = m.current;
  return true;
}

}  // namespace reelm::preprocess
