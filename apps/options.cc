#include "apps/options.h"

#include <array>
#include <charconv>
#include <cmath>

#include "apps/output.h"
#include "core/parallel.h"
#include "core/throw.h"
#include "pipeline/model_source.h"

namespace reelm::apps {

namespace {

/// A field of Limits with its flag.
template <typename T>
struct LimitFlag {
  const char* name;
  T Limits::*field;
  const char* help;
};

constexpr std::array kIntegerLimits = {
    LimitFlag<std::int64_t>{"frame-pixels", &Limits::frame_pixels,
                            "pixels of a coded frame or image"},
    LimitFlag<std::int64_t>{"media-bytes", &Limits::media_bytes,
                            "bytes spooled from standard input"},
    LimitFlag<std::int64_t>{"image-bytes", &Limits::image_bytes,
                            "size of a PNG, JPEG or WebP file"},
    LimitFlag<std::int64_t>{"decoded-bytes", &Limits::decoded_bytes,
                            "decoded frames alive at a time"},
    LimitFlag<std::int64_t>{"frames-considered", &Limits::frames_considered,
                            "frames in a container"},
    LimitFlag<std::int64_t>{"frames-kept", &Limits::frames_kept, "frames sampled from one video"},
    LimitFlag<std::int64_t>{"probe-bytes", &Limits::probe_bytes, "bytes read to open a container"},
    LimitFlag<std::int64_t>{"streams", &Limits::streams, "streams in a container"},
    LimitFlag<std::int64_t>{"media-count", &Limits::media_count, "videos and images in one prompt"},
    LimitFlag<std::int64_t>{"prompt-tokens", &Limits::prompt_tokens, "tokens of a prompt"},
    LimitFlag<std::int64_t>{"request-bytes", &Limits::request_bytes,
                            "memory one request may plan for"},
    LimitFlag<std::int64_t>{"json-bytes", &Limits::json_bytes, "size of a JSON file"},
    LimitFlag<std::int64_t>{"json-depth", &Limits::json_depth, "nesting of a JSON file"},
    LimitFlag<std::int64_t>{"tensor-count", &Limits::tensor_count, "tensors in a checkpoint"},
    LimitFlag<std::int64_t>{"tensor-rank", &Limits::tensor_rank, "sizes of a tensor"},
};
constexpr std::array kSecondsLimits = {
    LimitFlag<double>{"probe-seconds", &Limits::probe_seconds, "seconds to recognise a container"},
    LimitFlag<double>{"stall-seconds", &Limits::stall_seconds,
                      "seconds of decoding without a frame"},
};
static_assert(sizeof(Limits) == 8 * (kIntegerLimits.size() + kSecondsLimits.size()),
              "every limit has a flag");

template <typename T>
void add_limit(CLI::App& app, Limits& limits, const LimitFlag<T>& flag) {
  app.add_option(std::string("--limit-") + flag.name, limits.*flag.field, flag.help)
      ->capture_default_str()
      ->check(CLI::PositiveNumber)
      ->group("Limits");
}

/// An optional that a flag fills.
template <typename T>
CLI::Option* add_optional(CLI::App& app, const std::string& name, std::optional<T>& value,
                          const std::string& help, const CLI::Validator& check) {
  return app
      .add_option_function<T>(
          name, [&value](const T& given) { value = given; }, help)
      ->check(check)
      ->group("Frames");
}

}  // namespace

double parse_time(const std::string& text, const std::string& option) {
  const auto refuse = [&] {
    throw_error(ErrorCode::kInvalidArgument, "{} is '{}', expected seconds or [h:]mm:ss", option,
                text);
  };
  double total = 0.0;
  int fields = 0;
  std::size_t begin = 0;
  while (true) {
    const std::size_t colon = text.find(':', begin);
    const std::string field =
        text.substr(begin, colon == std::string::npos ? colon : colon - begin);
    double value = 0.0;
    const char* end = field.data() + field.size();
    const auto parsed = std::from_chars(field.data(), end, value, std::chars_format::fixed);
    const bool last = colon == std::string::npos;
    const bool bad = parsed.ec != std::errc() || parsed.ptr != end || !std::isfinite(value) ||
                     value < 0.0 || (!last && value != std::floor(value)) ||
                     (fields > 0 && value >= 60.0);
    if (bad || ++fields > 3) refuse();
    total = total * 60.0 + value;
    if (last) return total;
    begin = colon + 1;
  }
}

void add_kv_dtype(CLI::App& app, std::string& value) {
  app.add_option("--kv-dtype", value,
                 "what keys and values are cached in; auto: f32 or bf16 as the weights")
      ->check(CLI::IsMember({"auto", "f32", "bf16", "int8"}))
      ->capture_default_str();
}

void add_limits(CLI::App& app, Limits& limits) {
  for (const auto& flag : kIntegerLimits) add_limit(app, limits, flag);
  for (const auto& flag : kSecondsLimits) add_limit(app, limits, flag);
}

void ModelOptions::add_to(CLI::App& app) {
  app.add_option("--model", model,
                 "model directory or GGUF file (else $REELM_MODEL, else the embedded demo)");
  add_mmproj(app, mmproj);
  add_limits(app, limits);
}

void add_mmproj(CLI::App& app, std::string& mmproj) {
  app.add_option("--mmproj", mmproj,
                 "GGUF file of the vision tower (else the one *mmproj*.gguf beside a GGUF model)");
}

ModelFiles ModelOptions::files() const {
  return pipeline::open_model_source(directory(), mmproj, limits).files;
}

std::filesystem::path ModelOptions::directory() const {
  return model.empty() ? pipeline::default_model_directory() : std::filesystem::path(model);
}

void DtypeOptions::add_to(CLI::App& app) {
  const std::vector<std::string> known = {"auto", "f32", "bf16", "int8", "int4"};
  std::vector<std::string> of_decoder = known;
  for (const char* kept : {"q8_0", "q4_0"}) of_decoder.emplace_back(kept);
  app.add_option("--dtype", decoder,
                 "weights of the decoder: auto (as stored), f32, bf16, int8, int4; q8_0 or q4_0 "
                 "for a GGUF file stored so")
      ->check(CLI::IsMember(of_decoder))
      ->capture_default_str();
  app.add_option("--vision-dtype", vision,
                 "weights of the vision tower (auto: as --dtype, but bf16 beside quantised ones)")
      ->check(CLI::IsMember(known))
      ->capture_default_str();
}

void LoraOption::add_to(CLI::App& app) {
  app.add_option("--lora", given,
                 "a LoRA adapter (adapter_config.json, adapter_model.safetensors) to merge into "
                 "the weights, its update times a scale; may be given several times")
      ->type_name("DIR[:SCALE]")
      ->allow_extra_args(false);
}

pipeline::Adapters LoraOption::parse() const {
  pipeline::Adapters out;
  for (const std::string& text : given) out.push_back(pipeline::Adapter::parse(text));
  return out;
}

pipeline::ModelDtypes DtypeOptions::parse() const {
  return {pipeline::parse_dtype(decoder), pipeline::parse_dtype(vision)};
}

void SandboxOption::add_to(CLI::App& app) {
  app.add_option("--sandbox", mode,
                 "decode media in a process that can open and start nothing: on, off, auto (where "
                 "the system can)")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
}

std::unique_ptr<preprocess::Sandbox> SandboxOption::start() const {
  if (mode == "off") return nullptr;
  if (mode == "auto" && !preprocess::Sandbox::available()) {
    warn(
        "no sandbox on this system: media are decoded in this process (--sandbox off: no warning)");
    return nullptr;
  }
  return preprocess::Sandbox::start();
}

void add_threads(CLI::App& app) {
  app.add_option_function<int>(
         "--threads", [](int n) { set_num_threads(n); }, "threads (0: one a core)")
      ->check(CLI::Range(0, 1024));
}

void CacheOptions::add_to(CLI::App& app) {
  app.add_option("--packed-cache", cache,
                 "keep packed weights for the next time: auto ($REELM_PACKED_CACHE, else beside "
                 "the model or in ~/.cache/reelm), off, or a directory")
      ->capture_default_str();
}

void SamplingArguments::add_to(CLI::App& app) {
  const CLI::Range positive(std::int64_t{1}, std::int64_t{1} << 40);
  auto* fps = add_optional<double>(app, "--fps", values_.fps, "frames to take per second of video",
                                   CLI::PositiveNumber);
  add_optional<std::int64_t>(app, "--frames", values_.frames, "frames to take in all", positive)
      ->excludes(fps);
  add_optional<std::int64_t>(app, "--min-frames", values_.min_frames, "frames to take at least",
                             positive);
  add_optional<std::int64_t>(app, "--max-frames", values_.max_frames, "frames to take at most",
                             positive);
  add_optional<std::int64_t>(app, "--min-pixels", values_.min_pixels,
                             "pixels of a resized frame at least", positive);
  add_optional<std::int64_t>(app, "--max-pixels", values_.max_pixels,
                             "pixels of a resized frame at most", positive);
  app.add_option("--from", from_, "begin here: seconds or [h:]mm:ss")->group("Frames");
  app.add_option("--to", to_, "end here: seconds or [h:]mm:ss")->group("Frames");
  app.add_option("--sample", sample_, "spread frames over their numbers or over true time")
      ->check(CLI::IsMember({"index", "time"}))
      ->capture_default_str()
      ->group("Frames");
  app.add_flag("--square-pixels", values_.square_pixels,
               "correct pixels that are not square (the references do not)")
      ->group("Frames");
  app.add_option("--reference", reference_, "whose arithmetic to follow")
      ->check(CLI::IsMember({"qwen-vl-utils", "hf"}))
      ->capture_default_str()
      ->group("Frames");
}

preprocess::SamplingOptions SamplingArguments::options() const {
  preprocess::SamplingOptions out = values_;
  if (!from_.empty()) out.from = parse_time(from_, "--from");
  if (!to_.empty()) out.to = parse_time(to_, "--to");
  if (out.from && out.to && *out.from >= *out.to) {
    throw_error(ErrorCode::kInvalidArgument, "--from is {} s, expected less than --to ({} s)",
                *out.from, *out.to);
  }
  out.reference =
      reference_ == "hf" ? preprocess::Reference::kHf : preprocess::Reference::kQwenVlUtils;
  out.sample = sample_ == "time" ? preprocess::SampleBy::kTime : preprocess::SampleBy::kIndex;
  return out;
}

}  // namespace reelm::apps
