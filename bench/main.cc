// reelm-bench: how long every stage takes, and how close that is to what the machine can do.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <vector>

#include "apps/output.h"
#include "apps/program.h"
#include "apps/trace_file.h"
#include "apps/tune_option.h"
#include "bench/modes.h"
#include "core/version.h"

namespace reelm::bench {

namespace {

constexpr const char* kProgram = "reelm-bench";

/// All of them; the last is always chosen.
std::vector<std::unique_ptr<Mode>> make_modes() {
  std::vector<std::unique_ptr<Mode>> out;
  for (const auto make :
       {per_token_mode, matrix_mode, replicas_mode, ladder_mode, tune_report_mode, stages_mode}) {
    out.push_back(make());
  }
  return out;
}

int run(int argc, char** argv) {
  CLI::App app("reelm-bench times every stage and compares it with what this machine can do.",
               kProgram);
  app.set_version_flag("--version", fmt::format("{} {}", kProgram, version()));
  Options options;
  options.add_to(app);
  apps::TraceOption trace;
  trace.add_to(app);
  apps::TuneOption tune;
  tune.add_to(app);
  const std::vector<std::unique_ptr<Mode>> modes = make_modes();
  for (const auto& mode : modes) mode->add_to(app);
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
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return apps::fail(kProgram, fmt::format("{} (see --help)", e.what()), apps::kExitUsage);
  }
  options.parse();
  const Mode& mode =
      **std::find_if(modes.begin(), modes.end(), [](const auto& m) { return m->chosen(); });
  const auto work = [&] {
    mode.run(options);
    return 0;
  };
  return trace.run("bench", [&] { return tune.run(app, work); });
}

}  // namespace

}  // namespace reelm::bench

int main(int argc, char** argv) {
  return reelm::apps::run_program("reelm-bench", [&] { return reelm::bench::run(argc, argv); });
}
