// reelm-bench --per-token.
#include "apps/output.h"
#include "bench/modes.h"
#include "bench/per_token.h"

namespace reelm::bench {

namespace {

class PerTokenMode final : public Mode {
 public:
  void add_to(CLI::App& app) override;
  bool chosen() const override { return per_token_; }
  void run(const Options& options) const override;

 private:
  bool per_token_ = false;
};

void PerTokenMode::add_to(CLI::App& app) {
  auto* flag = app.add_flag("--per-token", per_token_,
                            "where the time of every token went, instead of every stage's");
  flag->excludes("--plot");
}

void PerTokenMode::run(const Options& options) const {
  Loaded loaded = load(options);
  const Measured measured = run_workload(options, loaded);
  for (const std::string& warning : measured.warnings) apps::warn(warning);
  apps::write_stdout(options.json  ? to_json(measured.per_token)
                     : options.csv ? to_csv(measured.per_token)
                                   : to_table(measured.per_token));
}

}  // namespace

std::unique_ptr<Mode> per_token_mode() { return std::make_unique<PerTokenMode>(); }

}  // namespace reelm::bench
