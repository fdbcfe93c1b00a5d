#include "apps/answer_options.h"

#include <fmt/format.h>

#include <optional>

#include "pipeline/tuning.h"

namespace reelm::apps {

namespace {

/// An optional generation setting that a flag fills.
template <typename T>
void add_setting(CLI::App& app, const char* name, std::optional<T>& value, const char* help) {
  app.add_option_function<T>(
         name, [&value](const T& given) { value = given; }, help)
      ->group("Answer");
}

void add_generation(CLI::App& app, pipeline::GenerationOptions& generation) {
  add_setting<std::int64_t>(app, "--max-new-tokens", generation.max_new_tokens,
                            "tokens of the answer at most (else the model's, else 512)");
  add_setting<double>(app, "--temperature", generation.temperature,
                      "0: the likeliest token; above: sample (else the model's)");
  add_setting<double>(app, "--top-p", generation.top_p, "sample from this much probability");
  add_setting<std::int64_t>(app, "--top-k", generation.top_k,
                            "sample from this many tokens; 0: all");
  add_setting<double>(app, "--repetition-penalty", generation.repetition_penalty,
                      "above 1: fewer repeats");
  add_setting<double>(app, "--guidance", generation.guidance_scale,
                      "above 1: what the media say counts for more, against the same question "
                      "without them (classifier-free guidance; 1: off)");
  add_setting<std::string>(app, "--negative", generation.negative_prompt,
                           "with --guidance: count against what this text, without media, would "
                           "answer");
  app.add_option("--seed", generation.seed, "of sampling")->capture_default_str()->group("Answer");
}

}  // namespace

void AnswerOptions::add_to(CLI::App& app) {
  model.add_to(app);
  lora.add_to(app);
  sampling.add_to(app);
  app.add_option("--system", system, "system message (else the template's)")->group("Answer");
  add_generation(app, generation);
  dtypes.add_to(app);
  cache.add_to(app);
  sandbox.add_to(app);
  app.add_option("--positions", position_rule,
                 "where text goes on after a long video: as the paper, or as transformers 5")
      ->check(CLI::IsMember({"paper", "installed"}))
      ->capture_default_str()
      ->group("Frames");
  add_kv_dtype(app, kv_dtype);
  add_threads(app);
  timeout.add_to(app);
  app.add_flag("--no-overlap", no_overlap,
               "read no frames ahead while others are encoded (to compare; answers are the same)");
  app.add_flag("-q,--quiet", quiet, "no progress, no warnings");
}

OpenEngine AnswerOptions::open() const {
  pipeline::EngineOptions options;
  options.dtypes = dtypes.parse();
  options.kv_dtype = llm::parse_kv_type(kv_dtype);
  options.limits = model.limits;
  options.overlap = !no_overlap;
  options.packed_cache = cache.parse();
  options.adapters = lora.parse();
  options.mmproj = model.mmproj;
  options.cancel = &interrupt_token();
  auto started = sandbox.start();
  options.sandbox = started.get();
  OpenEngine out{std::move(started), pipeline::Engine::open(model.directory(), options)};
  warn_all(out.engine.model().warnings);
  pipeline::tune_for(out.engine.model());
  return out;
}

pipeline::Request AnswerOptions::request(const std::vector<preprocess::MediaSource>& media,
                                         const std::string& text,
                                         const std::string& system_message) const {
  pipeline::Request out = pipeline::Request::question(media, text, system_message);
  out.sampling = sampling.options();
  out.generation = generation;
  out.position_rule =
      position_rule == "installed" ? llm::PositionRule::kInstalled : llm::PositionRule::kPaper;
  out.cancel = &interrupt_token();
  return out;
}

void AnswerOptions::warn_all(const std::vector<std::string>& warnings) const {
  if (quiet) return;
  for (const std::string& warning : warnings) warn(warning);
}

void AnswerOptions::warn_all(const std::vector<pipeline::MediaReport>& media) const {
  for (const pipeline::MediaReport& report : media) warn_all(report.warnings);
}

void show_progress(pipeline::Request& request, ProgressLine& progress) {
  request.on_progress = [&progress](const pipeline::Progress& p) {
    progress.show(fmt::format("{} {}/{}", p.stage, p.done, p.total));
  };
}

}  // namespace reelm::apps
