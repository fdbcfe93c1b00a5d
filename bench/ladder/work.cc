#include "bench/ladder/work.h"

#include <algorithm>
#include <utility>

#include "bench/ladder/rungs.h"
#include "core/json.h"
#include "core/throw.h"
#include "pipeline/prompt.h"
#include "preprocess/patch_reader.h"

namespace reelm::bench {

namespace {

/// The most that is alive at a time, in doubles: products of sizes that are bounded one by one.
double bytes_needed(const pipeline::Model& model, const pipeline::SyntheticSizes& sizes,
                    const LadderWork& work, int first_rung) {
  const vision::TowerSizes& v = sizes.tower();
  const auto& d = sizes.decoder;
  const auto patches = static_cast<double>(work.grid[0] * work.grid[1] * work.grid[2]);
  const auto n = static_cast<double>(work.prompt_tokens());
  const auto steps = static_cast<double>(work.new_tokens);
  const auto real = [](std::int64_t x) { return static_cast<double>(x); };
  // Scores and their mask, where the first rung forms them: the later ones form no more.
  const Switches first = rung_switches(std::min(first_rung, kShippedRung - 1));
  const double vision_scores = !first.vision_flash ? real(v.num_heads + 1) : 0.0;
  const double scores = !first.flash_prompt ? real(d.num_attention_heads + 1) : 0.0;
  const double all_logits = first.last_logits ? 0.0 : real(d.vocab_size);
  const double vision = patches * (real(v.patch_dim() + 8 * v.embed_dim + v.intermediate_size) +
                                   vision_scores * patches);
  const double decoder =
      n * (real(8 * d.hidden_size + d.intermediate_size) + all_logits + scores * n);
  const double logits = 2 * (steps + 1) * real(d.vocab_size);
  // A rung at most has a cache of its own, and a grown one a second while it is copied.
  const double caches =
      (kRungs + 1) * (n + steps) *
      real(model.decoder->kv_shape().bytes_per_position(model.decoder->kv_type()));
  const double int8_share = kernels::bits_per_weight(kernels::ComputeType::kInt8) /
                            kernels::bits_per_weight(pipeline::compute_type(model.dtypes.decoder));
  return 4 * (vision + decoder + logits) + caches +
         int8_share * real(static_cast<std::int64_t>(model.decoder->weight_bytes()));
}

void check_bytes(double needed, const Limits& limits) {
  const MemoryBound most = memory_bound(limits);
  if (needed <= static_cast<double>(most.bytes)) return;
  throw_error(ErrorCode::kLimit, "the ladder needs {:.0f} MB, {} is {} MB (see --ladder-from)",
              needed / (1 << 20), most.name, most.bytes >> 20);
}

/// All slices, one behind the other.
AlignedBuffer<float> read_patches(preprocess::Media& media, preprocess::MediaPlan plan,
                                  const pipeline::Model& model, const Limits& limits) {
  const auto [t, h, w] = plan.grid_thw;
  const std::int64_t slice_values = h * w * model.vision->patch_dim();
  AlignedBuffer<float> out(static_cast<std::size_t>(t * slice_values));
  preprocess::PatchReader reader(media, std::move(plan), model.preprocessor, limits);
  PatchBatch slice;
  for (float* to = out.data(); reader.next(slice); to += slice_values) {
    std::copy_n(slice.pixels.data(), slice_values, to);
  }
  return out;
}

/// The medium, then the question, as `reelm ask` has them.
Prompt ask(const pipeline::Model& model, const LadderWork& work, bool is_image) {
  const pipeline::Message message = {
      "user", {preprocess::MediaSource::from_argument(work.media), work.question}};
  const pipeline::MediaTokens medium = {is_image, work.vision_tokens};
  Prompt out;
  out.ids = pipeline::chat_prompt(*model.tokenizer, model.tokens, {&message, 1}, {&medium, 1},
                                  model.default_system);
  const llm::VisionGrid grid = {work.grid};
  out.positions = llm::mrope_positions(out.ids, {&grid, 1}, model.vision->spatial_merge_size(),
                                       model.tokens.placeholders);
  return out;
}

}  // namespace

std::optional<Sample> find_sample(const std::filesystem::path& model_dir, const Limits& limits) {
  const std::filesystem::path path = model_dir / "sample.json";
  std::error_code ec;
  if (!std::filesystem::is_regular_file(path, ec)) return std::nullopt;
  const Json json = read_json_file(path, limits);
  const std::string clip = json_string(json, "clip", path.string());
  const auto questions = json.find("questions");
  if (questions == json.end() || !questions->is_array() || questions->empty()) {
    throw_error(ErrorCode::kFormat, "{}: expected a list of questions", path.string());
  }
  return Sample{(model_dir / clip).string(),
                json_string(questions->front(), "question", path.string())};
}

LadderWork make_ladder_work(const pipeline::Model& model, const pipeline::SyntheticSizes& sizes,
                            const LadderOptions& options, const Limits& limits) {
  LadderWork out;
  out.media = options.work.media;
  out.question = options.question.value_or("");
  out.new_tokens = options.work.new_tokens;
  out.grid = options.work.grid;
  std::optional<preprocess::Media> media;
  preprocess::MediaPlan plan;
  if (!out.media.empty()) {
    media.emplace(preprocess::MediaSource::from_argument(out.media), limits);
    plan = preprocess::plan_media(*media, model.preprocessor, {}, limits);
    out.grid = plan.grid_thw;
  }
  out.vision_tokens = count_vision_tokens(model, out.grid, limits);
  if (out.question.empty()) {
    const std::int64_t n = choose_prompt_tokens(model, options.work, out.vision_tokens);
    out.prompt = made_up_prompt(model, n, out.grid, out.vision_tokens, plan.is_image);
  } else {
    out.prompt = ask(model, out, plan.is_image);
    check_prompt_tokens(model, out.prompt_tokens(), out.vision_tokens, out.new_tokens);
  }
  check_bytes(bytes_needed(model, sizes, out, options.first_rung), limits);
  const std::int64_t patches = out.grid[0] * out.grid[1] * out.grid[2];
  out.pixels = media ? read_patches(*media, std::move(plan), model, limits)
                     : made_up_pixels(patches * model.vision->patch_dim());
  return out;
}

}  // namespace reelm::bench
