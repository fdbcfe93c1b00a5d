// reelm-bench --ladder.
#include <fmt/format.h>

#include <optional>
#include <string>
#include <vector>

#include "apps/output.h"
#include "bench/ladder/report.h"
#include "bench/modes.h"

namespace reelm::bench {

namespace {

class LadderMode final : public Mode {
 public:
  void add_to(CLI::App& app) override;
  bool chosen() const override { return ladder_; }
  void run(const Options& options) const override;

 private:
  /// The model's own clip and question where nothing else was asked for.
  LadderOptions asked(const Options& options) const;

  bool ladder_ = false;
  int first_rung_ = 0;
  std::optional<std::string> question_;
};

void LadderMode::add_to(CLI::App& app) {
  auto* ladder = app.add_flag(
      "--ladder", ladder_,
      "one optimisation after the other, from reference kernels to what ships; medians of "
      "--repeat turns; gain: time of the row before / of this one, vision, prompt and new tokens");
  for (const char* other : {"--per-token", "--matrix", "--replicas", "--plot", "--kv-dtype"}) {
    ladder->excludes(other);
  }
  app.add_option("--ladder-from", first_rung_,
                 "the first row: earlier ones are left out (the plain forms take long)")
      ->check(CLI::Range(0, kRungs - 1))
      ->needs(ladder);
  app.add_option("--question", question_,
                 "what is asked (the first of the model's sample.json, else made-up text)")
      ->check([](const std::string& text) {
        return text.empty() ? std::string("a question has words") : std::string();
      })
      ->needs(ladder)
      ->excludes("--prompt-tokens");
}

LadderOptions LadderMode::asked(const Options& options) const {
  LadderOptions out = {.work = options.work, .question = question_, .first_rung = first_rung_};
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

void LadderMode::run(const Options& options) const {
  check_ladder_dtypes(options.dtypes.parse());  // before seconds of loading
  const LadderOptions ladder_options = asked(options);
  Loaded loaded = load(options);
  loaded.model.check_takes_media("--ladder");
  const LadderWork work =
      make_ladder_work(loaded.model, loaded.sizes, ladder_options, options.model.limits);
  LadderModel ladder(std::move(loaded.model), loaded.sizes);
  const LadderFacts facts = facts_of(ladder, work, ladder_options);
  const auto print = [&](const auto& what) {
    if (!options.json) apps::write_stdout(options.csv ? to_csv(what) : to_table(what));
  };
  if (!options.json) {
    apps::write_stdout(options.csv ? ladder_csv_head() : ladder_table_head(facts));
  }
  std::vector<LadderRow> rows;
  apps::ProgressLine progress(true);
  climb(
      ladder, work, ladder_options.first_rung, ladder_options.work.repeat,
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
      measure_preprocessing(ladder.model(), ladder_options.work, options.model.limits);
  print(times);
  if (options.json) apps::write_stdout(to_json(facts, rows, times));
}

}  // namespace

std::unique_ptr<Mode> ladder_mode() { return std::make_unique<LadderMode>(); }

}  // namespace reelm::bench
