// `reelm ask`: a question about videos and images.
#include <memory>
#include <nlohmann/json.hpp>

#include "apps/answer_options.h"
#include "apps/commands.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "kernels/isa.h"
#include "pipeline/engine.h"

namespace reelm::apps {

namespace {

using OrderedJson = nlohmann::ordered_json;

struct AskArguments {
  std::vector<std::string> words;  // MEDIA... QUESTION
  AnswerOptions options;
  bool json = false;
  bool plan_only = false;
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
  return a.options.request(media, question, a.options.system);
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

int run_ask(const AskArguments& a) {
  a.options.timeout.start();
  pipeline::Request request = make_request(a);
  // A wrong file name is told before gigabytes of weights are read.
  for (std::size_t i = 0; i + 1 < a.words.size(); ++i) {
    preprocess::MediaSource::from_argument(a.words[i]).check_exists();
  }
  OpenEngine open = a.options.open();
  pipeline::Engine& engine = open.engine;
  if (a.plan_only) {
    const pipeline::RequestPlan plan = engine.plan(request);
    write_stdout(plan_text(plan));
    for (const preprocess::MediaPlan& media : plan.media) a.options.warn_all(media.warnings);
    return 0;
  }

  ProgressLine progress(!a.options.quiet);
  show_progress(request, progress);
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
  a.options.warn_all(answer.media);
  return 0;
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
  a->options.add_to(*sub);
  sub->add_flag("--json", a->json, "print one JSON object instead of streaming the answer");
  sub->add_flag("--plan", a->plan_only, "print frames, tokens and memory it would take; no answer");
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
