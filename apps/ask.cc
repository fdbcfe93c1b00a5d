// `reelm ask`: a question about videos and images.
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "kernels/isa.h"
#include "pipeline/engine.h"

namespace reelm::apps {

namespace {

using OrderedJson = nlohmann::ordered_json;

struct AskArguments {
  std::vector<std::string> words;  // MEDIA... QUESTION
  ModelOptions model;
  SamplingArguments sampling;
  pipeline::GenerationOptions generation;
  std::string system;
  DtypeOptions dtypes;
  CacheOptions cache;
  SandboxOption sandbox;
  std::string kv_dtype = "auto";
  std::string position_rule = "paper";
  bool json = false;
  bool quiet = false;
  bool plan_only = false;
  bool no_overlap = false;
  TimeoutOption timeout;
};

/// The media and the question. A question that is a file's name is a forgotten question.
pipeline::Request make_request(const AskArguments& a) {
  const std::string& question = a.words.back();
  std::error_code ec;
  if (question == "-" || std::filesystem::is_regular_file(question, ec)) {
    throw_error(ErrorCode::kInvalidArgument,
                "the question is missing: the last argument, '{}', is a file (see ask --help)",
                question);
  }
  if (question.find_first_not_of(" \t\r\n") == std::string::npos) {
    throw Error(ErrorCode::kInvalidArgument, "the question is empty");
  }
  std::vector<preprocess::MediaSource> media;
  int standard_input = 0;
  for (std::size_t i = 0; i + 1 < a.words.size(); ++i) {
    if (a.words[i] == "-" && ++standard_input > 1) {
      throw Error(ErrorCode::kInvalidArgument, "standard input ('-') can be read once only");
    }
    media.push_back(preprocess::MediaSource::from_argument(a.words[i]));
  }
  pipeline::Request request = pipeline::Request::question(media, question, a.system);
  request.sampling = a.sampling.options();
  request.generation = a.generation;
  request.position_rule =
      a.position_rule == "installed" ? llm::PositionRule::kInstalled : llm::PositionRule::kPaper;
  request.cancel = &interrupt_token();
  return request;
}

OrderedJson media_json(const pipeline::MediaReport& report) {
  const preprocess::MediaPlan& plan = report.plan;
  OrderedJson out;
  out["name"] = report.name;
  out["kind"] = plan.is_image ? "image" : "video";
  out["grid_thw"] = plan.grid_thw;
  out["vision_tokens"] = plan.n_vision_tokens;
  out["source_size"] = {plan.source.height, plan.source.width};
  out["resized_size"] = {plan.resized.height, plan.resized.width};
  out["duration_seconds"] = plan.duration_seconds;
  out["total_frames"] = plan.total_frames;
  out["fps"] = plan.video_fps;
  out["frame_indices"] = plan.frame_indices;
  out["frame_pts"] = plan.frame_pts;
  out["warnings"] = report.warnings;
  return out;
}

std::string answer_json(const pipeline::Answer& answer, const pipeline::Model& model) {
  OrderedJson out;
  out["answer"] = answer.text;
  out["token_ids"] = answer.token_ids;
  out["finish_reason"] = pipeline::finish_reason_name(answer.finish_reason);
  out["prompt_tokens"] = answer.prompt_tokens;
  out["vision_tokens"] = answer.vision_tokens;
  out["completion_tokens"] = answer.token_ids.size();
  out["grid_thw"] = OrderedJson::array();
  out["frame_pts"] = OrderedJson::array();
  out["media"] = OrderedJson::array();
  for (const pipeline::MediaReport& report : answer.media) {
    out["grid_thw"].push_back(report.plan.grid_thw);
    out["frame_pts"].push_back(report.plan.frame_pts);
    out["media"].push_back(media_json(report));
  }
  out["stages_ms"] = OrderedJson::object();
  for (const pipeline::StageTime& stage : answer.stages) {
    out["stages_ms"][stage.stage] = stage.milliseconds;
  }
  out["peak_memory_bytes"] = answer.peak_memory_bytes;
  out["model"] = {{"directory", model.directory.string()},
                  {"model_type", model.model_type},
                  {"dtype", pipeline::dtype_name(model.dtypes.decoder)},
                  {"vision_dtype", pipeline::dtype_name(model.dtypes.vision)},
                  {"weights", pipeline::weight_source_name(model.weight_source)}};
  out["threads"] = num_threads();
  out["isa"] = std::string(kernels::isa_name(kernels::active_isa()));
  // Names and answers may hold bytes that are not UTF-8.
  return out.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string plan_text(const pipeline::RequestPlan& plan) {
  std::string out;
  for (const preprocess::MediaPlan& m : plan.media) {
    out += fmt::format("{}: {} frames of {}x{} as {}x{}, grid {}x{}x{}, {} vision tokens\n",
                       m.is_image ? "image" : "video", m.frame_indices.size(), m.source.width,
                       m.source.height, m.resized.width, m.resized.height, m.grid_thw[0],
                       m.grid_thw[1], m.grid_thw[2], m.n_vision_tokens);
  }
  if (plan.unconditional_tokens > 0) {
    out += fmt::format("guidance: a second prompt of {} tokens, decoded beside the first\n",
                       plan.unconditional_tokens);
  }
  out += fmt::format(
      "prompt: {} tokens, {} of them vision; answer: up to {} tokens\nmemory: KV cache {:.1f} MB, "
      "activations {:.1f} MB, decoded frames up to {:.1f} MB\n",
      plan.prompt_tokens, plan.vision_tokens, plan.max_new_tokens,
      static_cast<double>(plan.kv_cache_bytes) / 1e6,
      static_cast<double>(plan.activation_bytes) / 1e6,
      static_cast<double>(plan.decoding_bytes) / 1e6);
  return out;
}

void warn_all(const std::vector<std::string>& warnings) {
  for (const std::string& warning : warnings) warn(warning);
}

int run_ask(const AskArguments& a) {
  a.timeout.start();
  pipeline::Request request = make_request(a);
  pipeline::EngineOptions options;
  options.dtypes = a.dtypes.parse();
  options.kv_dtype = llm::parse_kv_type(a.kv_dtype);
  options.limits = a.model.limits;
  options.overlap = !a.no_overlap;
  options.packed_cache = a.cache.parse();
  options.cancel = &interrupt_token();
  // A wrong file name is told before gigabytes of weights are read.
  for (std::size_t i = 0; i + 1 < a.words.size(); ++i) {
    preprocess::MediaSource::from_argument(a.words[i]).check_exists();
  }
  const auto sandbox = a.sandbox.start();
  options.sandbox = sandbox.get();
  pipeline::Engine engine = pipeline::Engine::open(a.model.directory(), options);
  if (!a.quiet) {
    warn_all(engine.model().warnings);
  }
  if (a.plan_only) {
    const pipeline::RequestPlan plan = engine.plan(request);
    write_stdout(plan_text(plan));
    for (const preprocess::MediaPlan& media : plan.media) {
      if (!a.quiet) warn_all(media.warnings);
    }
    return 0;
  }

  ProgressLine progress(!a.quiet);
  request.on_progress = [&](const pipeline::Progress& p) {
    progress.show(fmt::format("{} {}/{}", p.stage, p.done, p.total));
  };
  if (!a.json) {
    request.on_text = [&](std::string_view piece) {
      progress.clear();
      write_stdout(piece);
      return true;
    };
  }
  const pipeline::Answer answer = engine.ask(request);
  progress.clear();
  write_stdout(a.json ? answer_json(answer, engine.model()) : std::string("\n"));
  if (!a.quiet) {
    for (const pipeline::MediaReport& report : answer.media) {
      warn_all(report.warnings);
    }
  }
  return 0;
}

/// An optional generation setting that a flag fills.
template <typename T>
void add_setting(CLI::App& app, const char* name, std::optional<T>& value, const char* help) {
  app.add_option_function<T>(
         name, [&value](const T& given) { value = given; }, help)
      ->group("Answer");
}

}  // namespace

void add_ask(CLI::App& app, Command& chosen) {
  CLI::App* sub = app.add_subcommand("ask", "answer a question about videos and images");
  const auto a = std::make_shared<AskArguments>();
  sub->add_option(
         "MEDIA... QUESTION", a->words,
         "videos and images (png, jpeg, webp; gif as video; - is standard input), then the "
         "question")
      ->required();
  a->model.add_to(*sub);
  a->sampling.add_to(*sub);
  sub->add_option("--system", a->system, "system message (else the template's)")->group("Answer");
  add_setting<std::int64_t>(*sub, "--max-new-tokens", a->generation.max_new_tokens,
                            "tokens of the answer at most (else the model's, else 512)");
  add_setting<double>(*sub, "--temperature", a->generation.temperature,
                      "0: the likeliest token; above: sample (else the model's)");
  add_setting<double>(*sub, "--top-p", a->generation.top_p, "sample from this much probability");
  add_setting<std::int64_t>(*sub, "--top-k", a->generation.top_k,
                            "sample from this many tokens; 0: all");
  add_setting<double>(*sub, "--repetition-penalty", a->generation.repetition_penalty,
                      "above 1: fewer repeats");
  add_setting<double>(*sub, "--guidance", a->generation.guidance_scale,
                      "above 1: what the media say counts for more, against the same question "
                      "without them (classifier-free guidance; 1: off)");
  add_setting<std::string>(*sub, "--negative", a->generation.negative_prompt,
                           "with --guidance: count against what this text, without media, would "
                           "answer");
  sub->add_option("--seed", a->generation.seed, "of sampling")
      ->capture_default_str()
      ->group("Answer");
  a->dtypes.add_to(*sub);
  a->cache.add_to(*sub);
  a->sandbox.add_to(*sub);
  sub->add_option("--positions", a->position_rule,
                  "where text goes on after a long video: as the paper, or as transformers 5")
      ->check(CLI::IsMember({"paper", "installed"}))
      ->capture_default_str()
      ->group("Frames");
  add_kv_dtype(*sub, a->kv_dtype);
  add_threads(*sub);
  a->timeout.add_to(*sub);
  sub->add_flag("--no-overlap", a->no_overlap,
                "read no frames ahead while others are encoded (to compare; answers are the same)");
  sub->add_flag("--json", a->json, "print one JSON object instead of streaming the answer");
  sub->add_flag("--plan", a->plan_only, "print frames, tokens and memory it would take; no answer");
  sub->add_flag("-q,--quiet", a->quiet, "no progress, no warnings");
  sub->footer(
      "Examples:\n"
      "  reelm ask clip.mp4 \"What happens in the video?\"\n"
      "  reelm ask --fps 1 --from 1:30 --to 2:00 film.mkv \"Who enters the room?\"\n"
      "  reelm ask before.png after.png \"What has changed?\"\n"
      "  reelm ask --guidance 1.5 clip.mp4 \"Which way does it move?\"\n"
      "  reelm ask --json clip.mp4 \"Describe the video.\"\n"
      "  cat clip.mp4 | reelm ask - \"How many objects are there?\"");
  sub->callback([a, &chosen] { chosen = [a] { return run_ask(*a); }; });
}

}  // namespace reelm::apps
