#include "bench/options.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <unistd.h>

#include <charconv>
#include <filesystem>

#include "apps/interrupt.h"
#include "apps/output.h"
#include "bench/clock.h"
#include "core/throw.h"
#include "llm/chatglm/config.h"
#include "llm/chatglm2/config.h"
#include "llm/chatglm2/version.h"
#include "llm/qwen/config.h"
#include "llm/qwen2_5_vl/config.h"
#include "llm/qwen3_vl/config.h"

namespace reelm::bench {

namespace {

/// "1,26,46".
GridThw parse_grid(const std::string& text) {
  GridThw grid{};
  const char* next = text.data();
  const char* const end = text.data() + text.size();
  for (std::size_t i = 0; i < 3; ++i) {
    const auto parsed = std::from_chars(next, end, grid[i]);
    const bool comma = i < 2 && parsed.ptr != end && *parsed.ptr == ',';
    if (parsed.ec != std::errc() || grid[i] < 1 || grid[i] > 1'000'000 ||
        !(i == 2 ? parsed.ptr == end : comma)) {
      throw_error(ErrorCode::kInvalidArgument, "--grid is '{}', expected t,h,w as in 1,26,46",
                  text);
    }
    next = parsed.ptr + 1;
  }
  return grid;
}

/// Asks the kernel to drop what it keeps of a file in memory.
void drop_pages(const std::filesystem::path& file) {
  const int fd = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  (void)::fsync(fd);  // dirty pages stay
  (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  (void)::close(fd);
}

/// Likewise of the weights of a model, GGUF files too.
void drop_weight_pages(const apps::ModelOptions& model) {
  const std::filesystem::path path = model.directory();
  if (!model.mmproj.empty()) drop_pages(model.mmproj);
  if (!std::filesystem::is_directory(path)) return drop_pages(path);
  for (const auto& entry : std::filesystem::directory_iterator(path)) {
    const auto extension = entry.path().extension();
    if (extension == ".safetensors" || extension == ".gguf") drop_pages(entry.path());
  }
}

pipeline::Model open(const Options& options) {
  pipeline::Model model =
      pipeline::open_model(options.model.directory(), {.dtypes = options.dtypes.parse(),
                                                       .limits = options.model.limits,
                                                       .packed_cache = options.cache.parse(),
                                                       .mmproj = options.model.mmproj,
                                                       .cancel = &apps::interrupt_token()});
  for (const std::string& warning : model.warnings) apps::warn(warning);
  return model;
}

pipeline::SyntheticSizes sizes_of(const ModelFiles& files, const Limits& limits) {
  const std::string model_type = pipeline::read_model_type(files, limits);
  if (model_type == "chatglm" && llm::chatglm2::find_version(files, limits)) {
    return {llm::chatglm2::load_decoder_config(files, limits).decoder, {}, false, model_type};
  }
  if (model_type == "chatglm") {
    return pipeline::sizes_of_chatglm(llm::chatglm::load_decoder_config(files, limits));
  }
  if (model_type == "qwen") {
    return {llm::qwen::load_decoder_config(files, limits).decoder, {}, false, model_type};
  }
  if (model_type == "qwen2") {
    return {llm::qwen2::load_decoder_config(files, limits), {}, false, model_type};
  }
  if (model_type == "qwen2_5_vl") {
    return {llm::qwen2_5_vl::load_config(files, limits).decoder,
            vision::qwen2_5_vl::load_vision_config(files, limits), true, model_type};
  }
  if (model_type == "qwen3_vl") {
    auto decoder = llm::qwen3_vl::load_decoder_config(files, limits);
    const auto vision = vision::qwen3_vl::load_vision_config(files, limits);
    decoder.deepstack_layers = std::ssize(vision.deepstack_visual_indexes);
    return {decoder, vision, true, model_type};
  }
  return {llm::qwen2_vl::load_decoder_config(files, limits),
          vision::qwen2_vl::load_vision_config(files, limits), true, model_type};
}

}  // namespace

void Options::add_to(CLI::App& app) {
  model.add_to(app);
  app.get_option("--model")->description(fmt::format(
      "model directory (else $REELM_MODEL, else the embedded demo), or made-up weights: {}",
      fmt::join(pipeline::synthetic_names(), ", ")));
  auto* media = app.add_option("--media", work.media, "a video or image to measure with");
  app.add_option("--grid", grid, "t,h,w: made-up patches instead (1,26,46)")->excludes(media);
  app.add_option_function<std::int64_t>(
         "--prompt-tokens", [this](std::int64_t n) { work.prompt_tokens = n; },
         "tokens of the prompt, vision included (512, or vision tokens + 64)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  app.add_option("--new-tokens", work.new_tokens, "tokens to decode")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--repeat", work.repeat, "runs; the table has their median")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  dtypes.add_to(app);
  cache.add_to(app);
  apps::add_kv_dtype(app, kv_dtype);
  apps::add_threads(app);
  auto* as_json = app.add_flag("--json", json, "print JSON");
  app.add_flag("--csv", csv, "print the stages as CSV")->excludes(as_json);
  app.add_option("--plot", plot, "draw stage shares and the roofline into this PNG file");
}

void Options::parse() {
  if (!grid.empty()) work.grid = parse_grid(grid);
  (void)dtypes.parse();
  (void)cache.parse();
  work.kv_dtype = llm::parse_kv_type(kv_dtype);
  if (!plot.empty()) apps::check_writable(plot);
}

Loaded make_synthetic(const Options& options) {
  return {pipeline::synthetic_sizes(options.model.model),
          pipeline::make_synthetic_model(options.model.model, options.dtypes.parse())};
}

Loaded load(const Options& options) {
  if (pipeline::is_synthetic(options.model.model)) return make_synthetic(options);
  pipeline::Model model = open(options);
  return {sizes_of(model.files, options.model.limits), std::move(model)};
}

Loaded load_timed(const Options& options, Totals& totals) {
  const auto begin = Clock::now();
  if (pipeline::is_synthetic(options.model.model)) {
    Loaded out = make_synthetic(options);
    totals.synthetic_make_ms = ms_since(begin);
    return out;
  }
  // A wrong path is said before anything else.
  (void)pipeline::read_model_type(options.model.files(), options.model.limits);
  drop_weight_pages(options.model);
  {  // closed again, else two of them are in memory
    const auto cold = Clock::now();
    const pipeline::Model model = open(options);
    totals.load_cold_ms = ms_since(cold);
  }
  const auto warm = Clock::now();
  pipeline::Model model = open(options);
  totals.load_warm_ms = ms_since(warm);
  return {sizes_of(model.files, options.model.limits), std::move(model)};
}

Measured run_workload(const Options& options, Loaded& loaded) {
  if (!options.grid.empty()) loaded.model.check_takes_media("--grid");
  return run_workload(loaded.model, loaded.sizes, options.work, options.model.limits);
}

}  // namespace reelm::bench
