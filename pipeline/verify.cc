#include "pipeline/verify.h"

#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <span>

#include "core/throw.h"
#include "pipeline/golden.h"
#include "pipeline/verify_layers.h"
#include "pipeline/verify_row.h"
#include "preprocess/frame_reader.h"

namespace reelm::pipeline {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

template <typename T>
VerifyRow compare_exact(std::string stage, std::span<const T> ours, std::span<const T> reference) {
  VerifyRow row{std::move(stage), kNaN, kNaN, kNaN, 0.0, "equal", false};
  if (ours.size() != reference.size()) {
    row.stage += fmt::format(" ({}, expected {})", ours.size(), reference.size());
    return row;
  }
  double largest = 0.0;
  std::size_t exact = 0;
  for (std::size_t i = 0; i < ours.size(); ++i) {
    largest = std::max(largest,
                       std::abs(static_cast<double>(ours[i]) - static_cast<double>(reference[i])));
    exact += static_cast<std::size_t>(ours[i] == reference[i]);
  }
  row.max_abs = largest;
  row.exact_fraction =
      ours.empty() ? 1.0 : static_cast<double>(exact) / static_cast<double>(ours.size());
  row.pass = exact == ours.size();
  return row;
}

/// Keeps what the golden keeps: every k-th row of the patches, a sum of every row, and the rest
/// whole.
class Recorder final : public Observer {
 public:
  explicit Recorder(std::int64_t pixel_stride) : pixel_stride_(pixel_stride) {}

  void on_patches(std::size_t, const PatchBatch& slice) override {
    const std::int64_t width = slice.pixels.size(1);
    for (std::int64_t i = 0; i < slice.pixels.size(0); ++i, ++rows_) {
      const float* row = slice.pixels.row(i);
      double sum = 0.0;
      for (std::int64_t j = 0; j < width; ++j) sum += row[j];
      row_sums.push_back(static_cast<float>(sum));
      if (rows_ % pixel_stride_ == 0) pixels.insert(pixels.end(), row, row + width);
    }
  }
  void on_prompt(std::span<const llm::TokenId> prompt_ids,
                 TensorView<const std::int64_t> position_ids, std::int64_t delta) override {
    ids.assign(prompt_ids.begin(), prompt_ids.end());
    positions.assign(position_ids.data(), position_ids.data() + position_ids.numel());
    rope_delta = delta;
  }
  void on_vision_embeds(TensorView<const float> embeds) override {
    vision.assign(embeds.data(), embeds.data() + embeds.numel());
  }
  void on_logits(std::int64_t index, TensorView<const float> logits) override {
    std::vector<float>& to = index == 0 ? first_logits : last_logits;
    to.assign(logits.data(), logits.data() + logits.numel());
    if (index == 0) last_logits = first_logits;
  }

  std::vector<float> pixels, row_sums, vision, first_logits, last_logits;
  std::vector<std::int64_t> ids, positions;
  std::int64_t rope_delta = 0;

 private:
  std::int64_t pixel_stride_;
  std::int64_t rows_ = 0;
};

/// Every stride-th row of a matrix.
std::vector<float> strided_rows(const std::vector<float>& values, std::int64_t width,
                                std::int64_t stride) {
  std::vector<float> out;
  const auto step = static_cast<std::size_t>(width);
  for (std::size_t row = 0; (row + 1) * step <= values.size();
       row += static_cast<std::size_t>(stride)) {
    const auto begin = values.begin() + static_cast<std::ptrdiff_t>(row * step);
    out.insert(out.end(), begin, begin + static_cast<std::ptrdiff_t>(step));
  }
  return out;
}

/// CRC-32 of every chosen frame at source size. Told, not bounded: another FFmpeg may convert
/// colours another way; what that does is bounded by the pixels.
VerifyRow compare_decoded(const Golden& golden, const Request& request, const Answer& answer,
                          const Limits& limits) {
  std::size_t total = 0, equal = 0, medium = 0;
  for (const Content& content : request.messages.back().content) {
    const auto* source = std::get_if<preprocess::MediaSource>(&content);
    if (source == nullptr) continue;
    const std::vector<std::uint32_t>& expected = golden.media()[medium].frames_crc32;
    const preprocess::MediaPlan& plan = answer.media[medium++].plan;
    preprocess::Media media(*source, limits, request.cancel);
    std::vector<std::int64_t> indices = plan.frame_indices;
    if (plan.is_image) indices.resize(1);
    preprocess::FrameReader reader(media, indices, limits, request.cancel,
                                   {.reference = plan.reference});
    preprocess::RgbFrame frame;
    for (std::size_t i = 0; reader.next(frame); ++i, ++total) {
      const std::int64_t row_bytes = frame.pixels.size(1) * frame.pixels.size(2);
      uLong crc = 0;
      for (std::int64_t y = 0; y < frame.pixels.size(0); ++y) {
        crc = crc32_z(crc, frame.pixels.row(y), static_cast<z_size_t>(row_bytes));
      }
      equal += static_cast<std::size_t>(i < expected.size() && crc == expected[i]);
    }
  }
  const double fraction =
      total == 0 ? 1.0 : static_cast<double>(equal) / static_cast<double>(total);
  return {"decoded frames (CRC-32)", kNaN, kNaN, kNaN, fraction, "reported only", true};
}

void verify_media(const Golden& golden, const Recorder& seen, const Answer& answer, double min_std,
                  double l2_bound, const LayerRecorder* layers, std::vector<VerifyRow>& rows) {
  std::vector<std::int64_t> indices, grids;
  for (const MediaReport& report : answer.media) {
    const preprocess::MediaPlan& plan = report.plan;
    const std::size_t count = plan.is_image ? 1 : plan.frame_indices.size();
    indices.insert(indices.end(), plan.frame_indices.begin(),
                   plan.frame_indices.begin() + static_cast<std::ptrdiff_t>(count));
    grids.insert(grids.end(), plan.grid_thw.begin(), plan.grid_thw.end());
  }
  const auto exact = [&](const char* stage, const std::vector<std::int64_t>& ours,
                         const std::vector<std::int64_t>& reference) {
    rows.push_back(compare_exact<std::int64_t>(stage, ours, reference));
  };
  exact("frame indices", indices, golden.integers("frame_indices"));
  exact("grid_thw", grids, golden.integers("grid_thw"));

  VerifyRow pixels = compare("pixel_values", seen.pixels, golden.floats("pixel_values"));
  // One level of 255 in normalised units; the slack is f32's rounding of the two values.
  const double level = 1.0 / 255.0 / min_std + 1e-5;
  pixels.bound = "within 1/255, 99.9 % exact";
  pixels.pass = pixels.max_abs <= level && pixels.exact_fraction >= 0.999;
  rows.push_back(pixels);
  // Rows that a stride left out show in their sums.
  rows.push_back(with_l2_bound(compare("pixel_values, sum of every row", seen.row_sums,
                                       golden.floats("pixel_values_row_sums")),
                               1e-4));
  if (layers != nullptr) layers->compare_vision(l2_bound, rows);
  rows.push_back(with_l2_bound(compare("vision_embeds",
                                       strided_rows(seen.vision, golden.columns("vision_embeds"),
                                                    golden.row_stride("vision_embeds")),
                                       golden.floats("vision_embeds")),
                               l2_bound));
}

/// Greedy tokens; in bf16 a flip is a fault only where the reference itself was sure.
VerifyRow compare_tokens(const Golden& golden, const Answer& answer, const Recorder& seen,
                         double l2_bound, bool is_f32, bool& same) {
  const std::vector<std::int64_t> ours(answer.token_ids.begin(), answer.token_ids.end());
  const std::vector<std::int64_t> reference = golden.integers("generated_ids");
  VerifyRow row = compare_exact<std::int64_t>("greedy tokens", ours, reference);
  same = row.pass;
  if (is_f32) return row;
  row.bound = "equal where the reference is sure";
  if (row.pass) return row;
  const std::vector<float> margins = golden.floats("generated_margins");
  float scale = 0.0f;
  for (const float logit : seen.first_logits) scale = std::max(scale, std::abs(logit));
  std::size_t first = 0;
  while (first < ours.size() && first < reference.size() && ours[first] == reference[first])
    ++first;
  row.pass = first < margins.size() && margins[first] <= l2_bound * scale;
  return row;
}

/// Relative L2 allowed. The quantised ones are several times what was measured over all goldens
/// (docs/quantisation.md): they tell a broken kernel from rounding.
double bound_for(Dtype dtype, bool golden_is_f32) {
  switch (dtype) {
    case Dtype::kInt8:
    case Dtype::kQ8_0:
      return 5e-2;
    case Dtype::kInt4:
    case Dtype::kQ4_0:
      return 5e-1;
    case Dtype::kF32:
      if (golden_is_f32) return 1e-4;
      [[fallthrough]];
    default:
      return 2e-2;
  }
}

/// The same for a KV cache of another type than the weights'.
double cache_bound(std::optional<llm::KvType> type) {
  if (type == llm::KvType::kInt8) return 5e-2;
  return type == llm::KvType::kBF16 ? 2e-2 : 0.0;
}

}  // namespace

bool VerifyReport::pass() const noexcept {
  return !rows.empty() &&
         std::all_of(rows.begin(), rows.end(), [](const VerifyRow& row) { return row.pass; });
}

VerifyReport verify_golden(const std::filesystem::path& path, const VerifyOptions& options) {
  const Golden golden(path, options.limits);
  if (!options.media.empty() && options.media.size() != golden.media().size()) {
    throw_error(ErrorCode::kInvalidArgument, "{}: the golden has {} media, {} were given",
                path.string(), golden.media().size(), options.media.size());
  }
  const std::filesystem::path model_dir =
      options.model.empty() ? golden.model_directory() : options.model;
  // The proof is of the weights as stored.
  Engine engine = Engine::open(model_dir, {.dtypes = options.dtypes,
                                           .limits = options.limits,
                                           .packed_cache = {PackedCache::Mode::kOff, {}},
                                           .adapters = options.adapters,
                                           .mmproj = options.mmproj,
                                           .cancel = options.cancel,
                                           .kv_dtype = options.kv_dtype});
  const ModelDtypes& dtypes = engine.model().dtypes;
  const bool golden_is_f32 = golden.text("dtype") == "f32";
  const double vision_bound = bound_for(dtypes.vision, golden_is_f32);
  const double l2_bound = std::max(
      {bound_for(dtypes.decoder, golden_is_f32), vision_bound, cache_bound(options.kv_dtype)});

  Recorder seen(golden.has("pixel_values") ? golden.row_stride("pixel_values") : 1);
  Request request = golden.request(options.media);
  request.observer = &seen;
  request.cancel = options.cancel;
  std::optional<LayerRecorder> layers;
  if (options.layers) layers.emplace(golden);
  const LayerTap::Scope scope(layers ? &*layers : nullptr);
  const Answer answer = engine.ask(request);

  VerifyReport report;
  report.answer = answer.text;
  report.reference_answer = golden.text("answer");
  if (golden.has("pixel_values")) {
    const auto& stds = engine.model().preprocessor.image_std;
    report.rows.push_back(compare_decoded(golden, request, answer, options.limits));
    verify_media(golden, seen, answer, *std::min_element(stds.begin(), stds.end()), vision_bound,
                 layers ? &*layers : nullptr, report.rows);
  }
  report.rows.push_back(
      compare_exact<std::int64_t>("input_ids", seen.ids, golden.integers("input_ids")));
  report.rows.push_back(
      compare_exact<std::int64_t>("position_ids", seen.positions, golden.integers("position_ids")));
  const std::int64_t deltas[] = {seen.rope_delta, golden.integer("rope_delta")};
  report.rows.push_back(compare_exact<std::int64_t>("rope_delta", std::span(deltas).first(1),
                                                    std::span(deltas).last(1)));
  if (layers) layers->compare_decoder(l2_bound, report.rows);
  report.rows.push_back(
      with_l2_bound(compare("logits", seen.first_logits, golden.floats("logits")), l2_bound));
  bool same_tokens = false;
  report.rows.push_back(
      compare_tokens(golden, answer, seen, l2_bound, l2_bound < 1e-3, same_tokens));
  if (same_tokens && golden.has("final_logits")) {
    report.rows.push_back(with_l2_bound(
        compare("logits of the last token", seen.last_logits, golden.floats("final_logits")),
        l2_bound));
  }
  return report;
}

}  // namespace reelm::pipeline
