#include "bench/ladder/preprocessing.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>
#include <utility>
#include <vector>

#include "bench/clock.h"
#include "core/aligned_buffer.h"
#include "preprocess/frame_reader.h"
#include "preprocess/patchify.h"
#include "preprocess/plan.h"
#include "preprocess/resize.h"

namespace reelm::bench {

namespace {

using preprocess::PreprocessorConfig;
using preprocess::Size;
using Bytes = TensorView<const std::uint8_t>;  // [h, w, 3]

constexpr std::int64_t kChannels = 3;

// Frames of one slice lie one behind the other, [temporal_patch_size, h, w, 3], in u8 and in f32.

AlignedBuffer<float> rescale(const AlignedBuffer<std::uint8_t>& frames, double factor) {
  AlignedBuffer<float> out(frames.size());
  const auto scale = static_cast<float>(factor);
  for (std::size_t i = 0; i < frames.size(); ++i) out[i] = static_cast<float>(frames[i]) * scale;
  return out;
}

AlignedBuffer<float> normalise(const AlignedBuffer<float>& frames, const PreprocessorConfig& c) {
  AlignedBuffer<float> out(frames.size());
  for (std::size_t i = 0; i < frames.size(); ++i) {
    const std::size_t channel = i % kChannels;
    const auto mean = static_cast<float>(c.image_mean[channel]);
    const auto std = static_cast<float>(c.image_std[channel]);
    out[i] = (frames[i] - mean) / std;
  }
  return out;
}

/// Rows (h/m, w/m, m, m) of [channel, frame, y, x], as preprocess::patchify.
void cut_patches(const AlignedBuffer<float>& frames, Size size, const PreprocessorConfig& c,
                 TensorView<float> patches) {
  const std::int64_t blocks_per_row = size.width / c.factor();
  const std::int64_t merged = c.merge_size * c.merge_size;
  for (std::int64_t p = 0; p < patches.size(0); ++p) {
    const std::int64_t block = p / merged, inside = p % merged;
    const std::int64_t row = block / blocks_per_row * c.merge_size + inside / c.merge_size;
    const std::int64_t col = block % blocks_per_row * c.merge_size + inside % c.merge_size;
    float* to = patches.row(p);
    for (std::int64_t channel = 0; channel < kChannels; ++channel) {
      for (std::int64_t t = 0; t < c.temporal_patch_size; ++t) {
        for (std::int64_t y = 0; y < c.patch_size; ++y) {
          const std::int64_t first =
              ((t * size.height + row * c.patch_size + y) * size.width + col * c.patch_size);
          for (std::int64_t x = 0; x < c.patch_size; ++x) {
            *to++ = frames[static_cast<std::size_t>((first + x) * kChannels + channel)];
          }
        }
      }
    }
  }
}

/// What one turn took, all frames together.
struct Turn {
  double resize = 0.0, rescale = 0.0, normalise = 0.0, cut = 0.0, fused = 0.0;
  std::int64_t frames = 0;
};

/// Both forms over the slices of one medium.
class Passes {
 public:
  Passes(const PreprocessorConfig& config, Size resized, preprocess::ResizeMode mode)
      : config_(config),
        resized_(resized),
        mode_(mode),
        table_(preprocess::make_normalize_table(config)),
        frames_(static_cast<std::size_t>(config.temporal_patch_size * frame_bytes())),
        separate_(frames_.size()),
        fused_(frames_.size()) {}

  /// The next frame of a slice; after the last of them, the patches.
  void take(Bytes frame, Turn& turn, PreprocessingTimes& out) {
    const Size size{frame.size(0), frame.size(1)};
    if (!resizer_ || resizer_->source() != size) resizer_.emplace(size, resized_, mode_);
    std::uint8_t* const to = frames_.data() + filled_ * frame_bytes();
    turn.resize += timed([&] {
      resizer_->run(frame, {to, {resized_.height, resized_.width, kChannels}});
    });
    ++turn.frames;
    out.source = size;
    if (++filled_ < config_.temporal_patch_size) return;
    filled_ = 0;
    make_patches(turn);
    compare(out);
  }

 private:
  std::int64_t frame_bytes() const { return resized_.height * resized_.width * kChannels; }

  template <typename Work>
  static double timed(Work&& work) {
    const auto begin = Clock::now();
    work();
    return ms_since(begin);
  }

  TensorView<float> patches_in(AlignedBuffer<float>& buffer) const {
    const std::int64_t rows =
        resized_.height * resized_.width / (config_.patch_size * config_.patch_size);
    return {buffer.data(), {rows, static_cast<std::int64_t>(buffer.size()) / rows}};
  }

  void make_patches(Turn& turn) {
    AlignedBuffer<float> rescaled, normalised;
    turn.rescale += timed([&] { rescaled = rescale(frames_, config_.rescale_factor); });
    turn.normalise += timed([&] { normalised = normalise(rescaled, config_); });
    turn.cut += timed([&] { cut_patches(normalised, resized_, config_, patches_in(separate_)); });
    const TensorView<const std::uint8_t> frames(
        frames_.data(), {config_.temporal_patch_size, resized_.height, resized_.width, kChannels});
    turn.fused += timed([&] { preprocess::patchify(frames, table_, config_, patches_in(fused_)); });
  }

  void compare(PreprocessingTimes& out) const {
    for (std::size_t i = 0; i < separate_.size(); ++i) {
      const double a = separate_[i], b = fused_[i];
      out.max_difference = std::max(out.max_difference, std::abs(a - b));
      out.largest_patch_value = std::max(out.largest_patch_value, std::abs(a));
    }
  }

  const PreprocessorConfig& config_;
  const Size resized_;
  const preprocess::ResizeMode mode_;
  const preprocess::NormalizeTable table_;
  std::optional<preprocess::Resizer> resizer_;
  AlignedBuffer<std::uint8_t> frames_;  // [temporal_patch_size, h, w, 3]
  AlignedBuffer<float> separate_;       // patches of the slice
  AlignedBuffer<float> fused_;          // the same
  std::int64_t filled_ = 0;             // frames of the slice
};

/// Shows every frame of a medium once, in order.
using EachFrame = std::function<void(const std::function<void(Bytes)>&)>;

PreprocessingTimes run_turns(Passes& passes, const EachFrame& each_frame, int repeat) {
  PreprocessingTimes out;
  std::vector<Turn> turns(static_cast<std::size_t>(repeat));
  for (Turn& turn : turns) {
    each_frame([&](Bytes frame) { passes.take(frame, turn, out); });
  }
  const auto a_frame = [&](double Turn::*part) {
    std::vector<double> ms;
    for (const Turn& turn : turns) ms.push_back(turn.*part / static_cast<double>(turn.frames));
    return median(std::move(ms));
  };
  out.resize_ms = a_frame(&Turn::resize);
  out.rescale_ms = a_frame(&Turn::rescale);
  out.normalise_ms = a_frame(&Turn::normalise);
  out.cut_ms = a_frame(&Turn::cut);
  out.fused_ms = a_frame(&Turn::fused);
  return out;
}

PreprocessingTimes measure_media(const pipeline::Model& model, const Workload& workload,
                                 const Limits& limits) {
  preprocess::Media media(preprocess::MediaSource::from_argument(workload.media), limits);
  const auto plan = preprocess::plan_media(media, model.preprocessor, {}, limits);
  const auto mode =
      plan.is_image ? preprocess::ResizeMode::kPil : preprocess::ResizeMode::kTorchFloat;
  Passes passes(model.preprocessor, plan.resized, mode);
  const EachFrame each_frame = [&](const std::function<void(Bytes)>& show) {
    const std::vector<std::int64_t> wanted =
        plan.is_image ? std::vector<std::int64_t>{0} : plan.frame_indices;
    preprocess::FrameReader reader(media, wanted, limits);
    preprocess::RgbFrame frame;
    while (reader.next(frame)) {
      // A still is a slice of itself, again and again.
      const std::int64_t times = plan.is_image ? model.preprocessor.temporal_patch_size : 1;
      for (std::int64_t i = 0; i < times; ++i) show(frame.pixels);
    }
  };
  PreprocessingTimes out = run_turns(passes, each_frame, workload.repeat);
  out.resized = plan.resized;
  return out;
}

PreprocessingTimes measure_grid(const pipeline::Model& model, const Workload& workload) {
  const PreprocessorConfig& config = model.preprocessor;
  const Size resized{workload.grid[1] * config.patch_size, workload.grid[2] * config.patch_size};
  const Size source{2 * resized.height, 2 * resized.width};
  AlignedBuffer<std::uint8_t> pixels(
      static_cast<std::size_t>(source.height * source.width * kChannels));
  for (std::size_t i = 0; i < pixels.size(); ++i) {
    pixels[i] = static_cast<std::uint8_t>(i * 2654435761u >> 13);
  }
  Passes passes(config, resized, preprocess::ResizeMode::kTorchFloat);
  const EachFrame each_frame = [&](const std::function<void(Bytes)>& show) {
    for (std::int64_t i = 0; i < config.temporal_patch_size; ++i) {
      show({pixels.data(), {source.height, source.width, kChannels}});
    }
  };
  PreprocessingTimes out = run_turns(passes, each_frame, workload.repeat);
  out.resized = resized;
  return out;
}

}  // namespace

PreprocessingTimes measure_preprocessing(const pipeline::Model& model, const Workload& workload,
                                         const Limits& limits) {
  return workload.media.empty() ? measure_grid(model, workload)
                                : measure_media(model, workload, limits);
}

}  // namespace reelm::bench
