// reelm-bench --tune-report.
#include <vector>

#include "apps/output.h"
#include "bench/modes.h"
#include "bench/tune_report.h"

namespace reelm::bench {

namespace {

class TuneReportMode final : public Mode {
 public:
  void add_to(CLI::App& app) override;
  bool chosen() const override { return tune_report_; }
  void run(const Options& options) const override;

 private:
  bool tune_report_ = false;
};

void TuneReportMode::add_to(CLI::App& app) {
  auto* tune_report = app.add_flag("--tune-report", tune_report_,
                                   "every candidate of attention and of products at the model's "
                                   "shapes, what --tune on would choose, and why");
  for (const char* other : {"--per-token", "--matrix", "--replicas", "--ladder", "--media",
                            "--new-tokens", "--csv", "--plot"}) {
    tune_report->excludes(other);
  }
}

void TuneReportMode::run(const Options& options) const {
  const Loaded loaded = load(options);
  const std::vector<TuneRow> rows = tune_report(loaded.model, loaded.sizes, options.work);
  apps::write_stdout(options.json ? to_json(rows) : to_table(rows));
}

}  // namespace

std::unique_ptr<Mode> tune_report_mode() { return std::make_unique<TuneReportMode>(); }

}  // namespace reelm::bench
