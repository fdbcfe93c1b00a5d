// reelm-bench: how long every stage takes, and how close that is to what the machine can do.
#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>

#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "apps/program.h"
#include "apps/trace_file.h"
#include "apps/tune_option.h"
#include "bench/clock.h"
#include "bench/ladder/report.h"
#include "bench/matrix.h"
#include "bench/peak_memory.h"
#include "bench/per_token.h"
#include "bench/plot.h"
#include "bench/replicas.h"
#include "bench/report.h"
#include "bench/tune_report.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "core/version.h"

namespace reelm::bench {

namespace {

constexpr const char* kProgram = "reelm-bench";
struct Options {
  apps::ModelOptions model;
  Workload work;
  std::string grid;
  apps::DtypeOptions dtypes;
  apps::CacheOptions cache;
  std::string kv_dtype = "auto";
  bool json = false, csv = false;
  std::string plot;
  apps::TraceOption trace;
  apps::TuneOption tune;
  bool per_token = false, matrix = false, tune_report = false;
  std::optional<std::string> batches, inputs, outputs;
  std::optional<std::string> replicas;
  std::int64_t requests = 0;
  std::string weights = "both";
  bool ladder = false;
  int first_rung = 0;
  std::optional<std::string> question;
};

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

/// Asks the kernel to drop what it keeps of the weights in memory.
void drop_weight_pages(const std::filesystem::path& directory) {
  for (const auto& entry : std::filesystem::directory_iterator(directory)) {
    if (entry.path().extension() != ".safetensors") continue;
    const int fd = ::open(entry.path().c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) continue;
    (void)::fsync(fd);  // dirty pages stay
    (void)::posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    (void)::close(fd);
  }
}

struct Loaded {
  pipeline::SyntheticSizes sizes;
  pipeline::Model model;
};

pipeline::Model open_directory(const Options& options, const std::filesystem::path& directory) {
  pipeline::Model model = pipeline::open_model(directory, {.dtypes = options.dtypes.parse(),
                                                           .limits = options.model.limits,
                                                           .packed_cache = options.cache.parse(),
                                                           .cancel = &apps::interrupt_token()});
  for (const std::string& warning : model.warnings) apps::warn(warning);
  return model;
}

Loaded make_synthetic(const Options& options) {
  return {pipeline::synthetic_sizes(options.model.model),
          pipeline::make_synthetic_model(options.model.model, options.dtypes.parse())};
}

pipeline::SyntheticSizes sizes_of(const std::filesystem::path& directory, const Limits& limits) {
  if (pipeline::read_model_type(directory, limits) == "qwen2") {
    return {llm::qwen2::load_decoder_config(directory, limits), {}, /*has_vision=*/false};
  }
  return {llm::qwen2_vl::load_decoder_config(directory, limits),
          vision::qwen2_vl::load_vision_config(directory, limits)};
}

/// Opens or makes the model.
Loaded load(const Options& options) {
  if (pipeline::is_synthetic(options.model.model)) return make_synthetic(options);
  const std::filesystem::path directory = options.model.directory();
  return {sizes_of(directory, options.model.limits), open_directory(options, directory)};
}

/// The same; how long it took goes to `totals`.
Loaded load_timed(const Options& options, Totals& totals) {
  const auto begin = Clock::now();
  if (pipeline::is_synthetic(options.model.model)) {
    Loaded out = make_synthetic(options);
    totals.synthetic_make_ms = ms_since(begin);
    return out;
  }
  const std::filesystem::path directory = options.model.directory();
  // A wrong path is said before anything else.
  (void)pipeline::read_model_type(directory, options.model.limits);
  drop_weight_pages(directory);
  {  // closed again, else two of them are in memory
    const auto cold = Clock::now();
    const pipeline::Model model = open_directory(options, directory);
    totals.load_cold_ms = ms_since(cold);
  }
  const auto warm = Clock::now();
  pipeline::Model model = open_directory(options, directory);
  totals.load_warm_ms = ms_since(warm);
  return {sizes_of(directory, options.model.limits), std::move(model)};
}

Measured run_workload(const Options& options, Loaded& loaded) {
  if (!options.grid.empty()) loaded.model.check_takes_media("--grid");
  return run_workload(loaded.model, loaded.sizes, options.work, options.model.limits);
}

Report measure(const Options& options) {
  // A mistake is told before seconds of measuring.
  if (pipeline::is_synthetic(options.model.model)) {
    (void)pipeline::synthetic_sizes(options.model.model);
  }
  Report report;
  report.machine = describe_machine();
  const bool small = options.model.model.starts_with("synthetic:tiny");  // of tests
  const double try_ms = small ? 0.5 : 2;
  const long long read_bytes = (small ? 64LL : 512LL) << 20;
  const auto ceilings = [&] {
    const TimelineSpan span("ceilings", SpanKind::kStage);
    return measure_ceilings(try_ms, read_bytes);
  };
  report.ceilings = ceilings();
  reset_peak_memory();  // the peak is the model's, not that of measuring the ceilings
  Loaded loaded = load_timed(options, report.totals);
  const Measured measured = run_workload(options, loaded);
  report.totals.peak_memory_bytes = peak_memory_bytes();
  const pipeline::ModelDtypes dtypes = loaded.model.dtypes;
  report.model = loaded.model.directory.string();
  report.dtype = pipeline::dtype_name(dtypes.decoder);
  report.vision_dtype = pipeline::dtype_name(dtypes.vision);
  report.kv_dtype =
      llm::kv_type_name(options.work.kv_dtype.value_or(loaded.model.decoder->kv_type()));
  loaded = Loaded();
  // Once more: neighbours may have come or gone, and a weak ceiling flatters everything.
  report.ceilings = best_of(report.ceilings, ceilings());
  for (const std::string& warning : measured.warnings) apps::warn(warning);

  report.media = options.work.media;
  report.grid = measured.grid;
  report.prompt_tokens = measured.prompt_tokens;
  report.vision_tokens = measured.vision_tokens;
  report.new_tokens = options.work.new_tokens;
  report.repeat = options.work.repeat;
  report.rows = make_rows(measured, report.ceilings, dtypes);
  report.totals.time_to_first_token_ms = median(measured.first_token_ms);
  report.totals.end_to_end_ms = median(measured.end_to_end_ms);
  double step_ms = 0.0;
  for (const Row& row : report.rows) {
    if (row.stage == "decode_token" || row.stage == "sampling") step_ms += row.median_ms;
  }
  report.totals.tokens_per_second = 1000.0 / step_ms;
  return report;
}

std::string per_token_report(const Options& options) {
  Loaded loaded = load(options);
  const Measured measured = run_workload(options, loaded);
  for (const std::string& warning : measured.warnings) apps::warn(warning);
  return options.json  ? to_json(measured.per_token)
         : options.csv ? to_csv(measured.per_token)
                       : to_table(measured.per_token);
}

std::string report_tuning(const Options& options) {
  const Loaded loaded = load(options);
  const std::vector<TuneRow> rows = tune_report(loaded.model, loaded.sizes, options.work);
  return options.json ? to_json(rows) : to_table(rows);
}

/// The lists as given, the others as they are.
Matrix parse_matrix(const Options& options) {
  Matrix out;
  if (options.batches) out.batches = parse_list(*options.batches, "--batches");
  if (options.inputs) out.inputs = parse_list(*options.inputs, "--inputs");
  if (options.outputs) out.outputs = parse_list(*options.outputs, "--outputs");
  out.repeat = options.work.repeat;
  out.kv_dtype = options.work.kv_dtype;
  return out;
}

void sweep(const Options& options, const Matrix& matrix) {
  Loaded loaded = load(options);
  check_matrix(loaded.model, matrix, options.model.limits);
  apps::write_stdout(matrix_csv_header());
  run_matrix(loaded.model, matrix,
             [](const MatrixCell& cell) { apps::write_stdout(to_csv(cell)); });
}

/// Every engine with weights that it alone has.
std::unique_ptr<pipeline::Engine> make_engine(const Options& options, int replicas, int threads) {
  pipeline::EngineOptions engine{.threads = threads, .replicas = replicas};
  engine.limits = options.model.limits;
  engine.kv_dtype = options.work.kv_dtype;
  if (pipeline::is_synthetic(options.model.model)) {
    return std::make_unique<pipeline::Engine>(make_synthetic(options).model, engine);
  }
  engine.dtypes = options.dtypes.parse();
  engine.packed_cache = {pipeline::PackedCache::Mode::kOff, {}};
  engine.cancel = &apps::interrupt_token();
  return std::make_unique<pipeline::Engine>(
      pipeline::Engine::open(options.model.directory(), engine));
}

void sweep_replicas(const Options& options) {
  ReplicaSweep sweep;
  sweep.counts = parse_list(*options.replicas, "--replicas");
  sweep.shared = options.weights != "separate";
  sweep.separate = options.weights != "shared";
  sweep.requests = options.requests;
  sweep.repeat = options.work.repeat;
  pipeline::Request request = replica_request(options.work);
  request.cancel = &apps::interrupt_token();
  bool first = true;  // nothing is printed before a mistake is told
  run_replicas([&](int replicas, int threads) { return make_engine(options, replicas, threads); },
               request, sweep,
               [&](const ReplicaCell& cell) {
                 apps::write_stdout((first ? replicas_csv_header() : "") + to_csv(cell));
                 first = false;
               });
}

void add_replicas(CLI::App& app, Options& options) {
  auto* replicas =
      app.add_option("--replicas", options.replicas,
                     "requests answered at a time (1,2,4), from a queue, as CSV: throughput and "
                     "memory with one copy of the weights and with several");
  for (const char* other : {"--per-token", "--matrix", "--grid", "--json", "--csv", "--plot"}) {
    replicas->excludes(other);
  }
  app.add_option("--requests", options.requests, "requests of each line (twice the most replicas)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{100'000}))
      ->needs(replicas);
  app.add_option("--weights", options.weights, "shared, separate or both")
      ->check(CLI::IsMember({"shared", "separate", "both"}))
      ->capture_default_str()
      ->needs(replicas);
}

/// The model's own clip and question where nothing else was asked for.
LadderOptions ladder_options(const Options& options) {
  LadderOptions out = {
      .work = options.work, .question = options.question, .first_rung = options.first_rung};
  const bool own = out.work.media.empty() && options.grid.empty() &&
                   !pipeline::is_synthetic(options.model.model);
  const auto sample =
      own ? find_sample(options.model.directory(), options.model.limits) : std::nullopt;
  if (sample) {
    out.work.media = sample->media;
    if (!out.question && !out.work.prompt_tokens) out.question = sample->question;
  }
  return out;
}

void run_ladder(const Options& options) {
  check_ladder_dtypes(options.dtypes.parse());  // before seconds of loading
  const LadderOptions asked = ladder_options(options);
  Loaded loaded = load(options);
  loaded.model.check_takes_media("--ladder");
  const LadderWork work = make_ladder_work(loaded.model, loaded.sizes, asked, options.model.limits);
  LadderModel ladder(std::move(loaded.model), loaded.sizes);
  const LadderFacts facts = facts_of(ladder, work, asked);
  const auto print = [&](const auto& what) {
    if (!options.json) apps::write_stdout(options.csv ? to_csv(what) : to_table(what));
  };
  if (!options.json) {
    apps::write_stdout(options.csv ? ladder_csv_head() : ladder_table_head(facts));
  }
  std::vector<LadderRow> rows;
  apps::ProgressLine progress(true);
  climb(
      ladder, work, asked.first_rung, asked.work.repeat,
      [&](const LadderProgress& p) {
        progress.show(fmt::format("turn {}, rung {}: {:.1f} ms, {:.2f} ms a token", p.turn + 1,
                                  p.rung, p.prompt_ms, p.token_ms));
      },
      [&](const LadderRow& row) {
        progress.clear();
        rows.push_back(row);
        print(row);
      });
  progress.clear();
  const PreprocessingTimes times =
      measure_preprocessing(ladder.model(), asked.work, options.model.limits);
  print(times);
  if (options.json) apps::write_stdout(to_json(facts, rows, times));
}

void add_ladder(CLI::App& app, Options& options) {
  auto* ladder = app.add_flag(
      "--ladder", options.ladder,
      "one optimisation after the other, from reference kernels to what ships; medians of "
      "--repeat turns; gain: time of the row before / of this one, vision, prompt and new tokens");
  for (const char* other : {"--per-token", "--matrix", "--replicas", "--plot", "--kv-dtype"}) {
    ladder->excludes(other);
  }
  app.add_option("--ladder-from", options.first_rung,
                 "the first row: earlier ones are left out (the plain forms take long)")
      ->check(CLI::Range(0, kRungs - 1))
      ->needs(ladder);
  app.add_option("--question", options.question,
                 "what is asked (the first of the model's sample.json, else made-up text)")
      ->check([](const std::string& text) {
        return text.empty() ? std::string("a question has words") : std::string();
      })
      ->needs(ladder)
      ->excludes("--prompt-tokens");
}

void add_sweeps(CLI::App& app, Options& options) {
  auto* per_token = app.add_flag("--per-token", options.per_token,
                                 "where the time of every token went, instead of every stage's");
  per_token->excludes("--plot");
  auto* matrix = app.add_flag("--matrix", options.matrix,
                              "batch x input x output length as CSV; the fastest of --repeat runs");
  for (const char* other : {"--per-token", "--media", "--grid", "--prompt-tokens", "--new-tokens",
                            "--json", "--csv", "--plot"}) {
    matrix->excludes(other);
  }
  const auto add_list = [&](const char* name, std::optional<std::string>& value, const char* help) {
    app.add_option(name, value, help)->needs(matrix);
  };
  add_list("--batches", options.batches, "sequences decoded together (1,2,4,8)");
  add_list("--inputs", options.inputs, "prompt lengths (32,64,128,256,512,1024,2048)");
  add_list("--outputs", options.outputs, "answer lengths (32,64,128,256,512,1024)");
}

void add_tune_report(CLI::App& app, Options& options) {
  auto* tune_report = app.add_flag("--tune-report", options.tune_report,
                                   "every candidate of attention and of products at the model's "
                                   "shapes, what --tune on would choose, and why");
  for (const char* other : {"--per-token", "--matrix", "--replicas", "--ladder", "--media",
                            "--new-tokens", "--csv", "--plot"}) {
    tune_report->excludes(other);
  }
}

void add_options(CLI::App& app, Options& options) {
  app.set_version_flag("--version", fmt::format("{} {}", kProgram, version()));
  options.model.add_to(app);
  app.get_option("--model")->description(fmt::format(
      "model directory (else $REELM_MODEL, else the embedded demo), or made-up weights: {}",
      fmt::join(pipeline::synthetic_names(), ", ")));
  auto* media = app.add_option("--media", options.work.media, "a video or image to measure with");
  app.add_option("--grid", options.grid, "t,h,w: made-up patches instead (1,26,46)")
      ->excludes(media);
  app.add_option_function<std::int64_t>(
         "--prompt-tokens", [&](std::int64_t n) { options.work.prompt_tokens = n; },
         "tokens of the prompt, vision included (512, or vision tokens + 64)")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30));
  app.add_option("--new-tokens", options.work.new_tokens, "tokens to decode")
      ->check(CLI::Range(std::int64_t{1}, std::int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--repeat", options.work.repeat, "runs; the table has their median")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  options.dtypes.add_to(app);
  options.cache.add_to(app);
  apps::add_kv_dtype(app, options.kv_dtype);
  apps::add_threads(app);
  auto* json = app.add_flag("--json", options.json, "print JSON");
  app.add_flag("--csv", options.csv, "print the stages as CSV")->excludes(json);
  app.add_option("--plot", options.plot, "draw stage shares and the roofline into this PNG file");
  options.trace.add_to(app);
  options.tune.add_to(app);
  add_sweeps(app, options);
  add_replicas(app, options);
  add_ladder(app, options);
  add_tune_report(app, options);
  app.footer(
      "Examples:\n"
      "  reelm-bench --model synthetic:qwen2-vl-2b --grid 1,26,46 --prompt-tokens 512\n"
      "  reelm-bench --model synthetic:qwen2-vl-2b --media clip.mp4 --plot clip.png\n"
      "  reelm-bench --per-token --media clip.mp4\n"
      "  reelm-bench --replicas 1,2,4 --media clip.mp4\n"
      "  reelm-bench --tune-report --model synthetic:qwen2-vl-2b\n"
      "  reelm-bench --matrix --batches 1,2,4 --inputs 32,512 --outputs 32\n"
      "  reelm-bench --ladder --new-tokens 8\n"
      "Exit codes: 0 done, 1 failed, 2 wrong usage.");
}

/// The kind of benchmark that was asked for.
int run_kind(const Options& options) {
  if (options.matrix) {
    sweep(options, parse_matrix(options));
    return 0;
  }
  if (options.replicas) {
    sweep_replicas(options);
    return 0;
  }
  if (options.ladder) {
    run_ladder(options);
    return 0;
  }
  if (options.tune_report) {
    apps::write_stdout(report_tuning(options));
    return 0;
  }
  if (options.per_token) {
    apps::write_stdout(per_token_report(options));
    return 0;
  }
  const Report report = measure(options);
  if (!options.plot.empty()) apps::write_file(options.plot, plot_png(report));
  apps::write_stdout(options.json  ? to_json(report)
                     : options.csv ? to_csv(report)
                                   : to_table(report));
  return 0;
}

int run(int argc, char** argv) {
  CLI::App app("reelm-bench times every stage and compares it with what this machine can do.",
               kProgram);
  Options options;
  add_options(app, options);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return apps::fail(kProgram, fmt::format("{} (see --help)", e.what()), apps::kExitUsage);
  }
  if (!options.grid.empty()) options.work.grid = parse_grid(options.grid);
  (void)options.dtypes.parse();
  (void)options.cache.parse();
  options.work.kv_dtype = llm::parse_kv_type(options.kv_dtype);
  if (!options.plot.empty()) apps::check_writable(options.plot);
  return options.trace.run(
      "bench", [&] { return options.tune.run(app, [&] { return run_kind(options); }); });
}

}  // namespace

}  // namespace reelm::bench

int main(int argc, char** argv) {
  return reelm::apps::run_program("reelm-bench", [&] { return reelm::bench::run(argc, argv); });
}
