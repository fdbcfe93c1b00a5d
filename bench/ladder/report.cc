#include "bench/ladder/report.h"

#include <fmt/format.h>

#include "core/json.h"

namespace reelm::bench {

namespace {

/// Every time of both forms by its name.
template <typename Each>
void for_each_pass(const PreprocessingTimes& t, Each&& each) {
  each("separate", "resize", t.resize_ms);
  each("separate", "rescale", t.rescale_ms);
  each("separate", "normalise", t.normalise_ms);
  each("separate", "patches", t.cut_ms);
  each("separate", "all", t.separate_total_ms());
  each("fused", "resize", t.resize_ms);
  each("fused", "patches", t.fused_ms);
  each("fused", "all", t.fused_total_ms());
}

}  // namespace

LadderFacts facts_of(const LadderModel& ladder, const LadderWork& work,
                     const LadderOptions& options) {
  const pipeline::Model& model = ladder.model();
  return {.machine = describe_machine(),
          .model = model.directory.string(),
          .dtype = pipeline::dtype_name(model.dtypes.decoder),
          .vision_dtype = pipeline::dtype_name(model.dtypes.vision),
          .media = work.media,
          .question = work.question,
          .grid = work.grid,
          .prompt_tokens = work.prompt_tokens(),
          .vision_tokens = work.vision_tokens,
          .new_tokens = work.new_tokens,
          .repeat = options.work.repeat,
          .first_rung = options.first_rung};
}

std::string ladder_table_head(const LadderFacts& f) {
  return machine_line(f.machine) +
         fmt::format("model: {}, {} (vision tower: {})\n", f.model, f.dtype, f.vision_dtype) +
         fmt::format(
             "work: {}, {}, grid {}x{}x{}, {} prompt tokens ({} vision), {} new tokens, median of "
             "{} turns\n\n",
             f.media.empty() ? "made-up patches" : f.media,
             f.question.empty() ? "made-up text" : fmt::format("'{}'", f.question), f.grid[0],
             f.grid[1], f.grid[2], f.prompt_tokens, f.vision_tokens, f.new_tokens, f.repeat) +
         fmt::format("{:<34} | {:>14} | {:>15} | {:>6} | {}\n", "optimisation", "ViT+prefill ms",
                     "decode ms/token", "gain", "max relative difference of the logits");
}

std::string to_table(const LadderRow& row) {
  return fmt::format("{:<34} | {:>14} | {:>15} | {:>6} | {:.1e}\n",
                     fmt::format("({}) {}", row.rung, rung_name(row.rung)),
                     milliseconds(row.prompt_ms), milliseconds(row.token_ms),
                     row.gain ? fmt::format("{:.2f}", *row.gain) : "-",
                     row.max_relative_difference);
}

std::string to_table(const PreprocessingTimes& t) {
  const auto line = [](const char* name, double separate, const std::string& fused) {
    return fmt::format("{:<34} | {:>14} | {:>15}\n", name, milliseconds(separate), fused);
  };
  return fmt::format("\n{:<34} | {:>14} | {:>15}\n",
                     fmt::format("frame {}x{} to {}x{}", t.source.width, t.source.height,
                                 t.resized.width, t.resized.height),
                     "separate ms", "fused ms") +
         line("resize", t.resize_ms, milliseconds(t.resize_ms)) +
         line("rescale", t.rescale_ms, "-") + line("normalise", t.normalise_ms, "-") +
         line("patches", t.cut_ms, milliseconds(t.fused_ms)) +
         line("all", t.separate_total_ms(), milliseconds(t.fused_total_ms())) +
         fmt::format("gain {:.2f}; the patches differ by {:.1e} of {:.1f} at most\n", t.gain(),
                     t.max_difference, t.largest_patch_value);
}

std::string ladder_csv_head() {
  return "kind,name,vit_prefill_ms,decode_ms_per_token,least_vit_prefill_ms,"
         "least_decode_ms_per_token,gain,max_relative_difference,frame_ms\n";
}

std::string to_csv(const LadderRow& row) {
  return fmt::format("rung,\"{}\",{},{},{},{},{},{},\n", rung_name(row.rung), row.prompt_ms,
                     row.token_ms, row.least_prompt_ms, row.least_token_ms,
                     row.gain ? fmt::format("{}", *row.gain) : "", row.max_relative_difference);
}

std::string to_csv(const PreprocessingTimes& t) {
  std::string out;
  for_each_pass(t, [&](const char* form, const std::string& pass, double ms) {
    out += fmt::format("{},{},,,,,,,{}\n", form, pass, ms);
  });
  return out;
}

std::string to_json(const LadderFacts& f, const std::vector<LadderRow>& rows,
                    const PreprocessingTimes& t) {
  Json rungs = Json::array();
  for (const LadderRow& row : rows) {
    rungs.push_back({{"rung", row.rung},
                     {"optimisation", rung_name(row.rung)},
                     {"vit_prefill_ms", row.prompt_ms},
                     {"decode_ms_per_token", row.token_ms},
                     {"least_vit_prefill_ms", row.least_prompt_ms},
                     {"least_decode_ms_per_token", row.least_token_ms},
                     {"gain", number(row.gain)},
                     {"max_relative_difference", number(row.max_relative_difference)}});
  }
  Json passes = {{"source", {t.source.height, t.source.width}},
                 {"resized", {t.resized.height, t.resized.width}},
                 {"gain", number(t.gain())},
                 {"max_difference", number(t.max_difference)}};
  for_each_pass(t, [&](const char* form, const std::string& pass, double ms) {
    passes[form][pass + "_ms"] = ms;
  });
  const auto text = [](const std::string& s) { return s.empty() ? Json(nullptr) : Json(s); };
  const Json out = {{"machine", machine_json(f.machine)},
                    {"work",
                     {{"model", f.model},
                      {"dtype", f.dtype},
                      {"vision_dtype", f.vision_dtype},
                      {"media", text(f.media)},
                      {"question", text(f.question)},
                      {"grid_thw", f.grid},
                      {"prompt_tokens", f.prompt_tokens},
                      {"vision_tokens", f.vision_tokens},
                      {"new_tokens", f.new_tokens},
                      {"repeat", f.repeat},
                      {"first_rung", f.first_rung}}},
                    {"rungs", std::move(rungs)},
                    {"preprocessing", std::move(passes)}};
  // Names of files may hold bytes that are no UTF-8.
  return out.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

}  // namespace reelm::bench
