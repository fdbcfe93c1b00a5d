// reelm-bench without a flag: every stage against the ceilings of the machine.
#include "apps/output.h"
#include "bench/modes.h"
#include "bench/peak_memory.h"
#include "bench/plot.h"
#include "core/timeline.h"

namespace reelm::bench {

namespace {

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

class StagesMode final : public Mode {
 public:
  void add_to(CLI::App& app) override;
  bool chosen() const override { return true; }
  void run(const Options& options) const override;
};

void StagesMode::add_to(CLI::App&) {}

void StagesMode::run(const Options& options) const {
  const Report report = measure(options);
  if (!options.plot.empty()) apps::write_file(options.plot, plot_png(report));
  apps::write_stdout(options.json  ? to_json(report)
                     : options.csv ? to_csv(report)
                                   : to_table(report));
}

}  // namespace

std::unique_ptr<Mode> stages_mode() { return std::make_unique<StagesMode>(); }

}  // namespace reelm::bench
