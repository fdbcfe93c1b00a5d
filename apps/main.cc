// The command line: `reelm ask`, `chat`, `info`, `convert`, `frames`, `tokenize`, `verify`,
// `perplexity`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "apps/commands.h"
#include "apps/program.h"
#include "apps/trace_file.h"
#include "apps/tune_option.h"
#include "core/version.h"

namespace {

int run(int argc, char** argv) {
  CLI::App app("reelm answers questions about videos and images.", "reelm");
  app.set_version_flag("--version", std::string("reelm ") + reelm::version());
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  reelm ask clip.mp4 \"What happens in the video?\"\n"
      "  reelm ask --model Qwen2-VL-2B-Instruct --fps 1 film.mkv \"Who enters the room?\"\n"
      "  reelm chat --model Qwen2.5-0.5B-Instruct\n"
      "  reelm info clip.mp4\n"
      "  reelm frames clip.mp4 -o sheet.png\n"
      "`reelm COMMAND --help` tells the rest. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 "
      "interrupted.");
  reelm::apps::Command chosen;
  reelm::apps::add_ask(app, chosen);
  reelm::apps::add_chat(app, chosen);
  reelm::apps::add_info(app, chosen);
  reelm::apps::add_convert(app, chosen);
  reelm::apps::add_frames(app, chosen);
  reelm::apps::add_tokenize(app, chosen);
  reelm::apps::add_verify(app, chosen);
  reelm::apps::add_perplexity(app, chosen);
  reelm::apps::TraceOption trace;
  for (CLI::App* command : app.get_subcommands([](CLI::App*) { return true; })) {
    trace.add_to(*command);
  }
  reelm::apps::TuneOption tune;
  for (const char* command : {"ask", "chat", "verify", "perplexity"}) {
    tune.add_to(*app.get_subcommand(command));
  }
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return reelm::apps::fail("reelm", fmt::format("{} (see --help)", e.what()),
                             reelm::apps::kExitUsage);
  }
  const CLI::App& command = *app.get_subcommands().front();
  return trace.run(command.get_name(), [&] { return tune.run(command, chosen); });
}

}  // namespace

int main(int argc, char** argv) {
  return reelm::apps::run_program("reelm", [&] { return run(argc, argv); });
}
