// The command line: `reelm ask`, `info`, `frames`, `tokenize`, `verify`.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <new>

#include "apps/commands.h"
#include "apps/output.h"
#include "core/error.h"
#include "core/version.h"

namespace {

constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;
constexpr int kExitInterrupted = 130;  // as a shell reports SIGINT

/// One line, whatever the message holds: file names may hold anything.
int fail(const std::string& message, int code) {
  std::string line = message;
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  }
  fmt::print(stderr, "reelm: error: {}\n", line);
  return code;
}

int exit_code(reelm::ErrorCode code) {
  switch (code) {
    case reelm::ErrorCode::kInvalidArgument:
      return kExitUsage;
    case reelm::ErrorCode::kCancelled:
      return kExitInterrupted;
    default:
      return kExitFailed;
  }
}

int run(int argc, char** argv) {
  CLI::App app("reelm answers questions about videos and images.", "reelm");
  app.set_version_flag("--version", std::string("reelm ") + reelm::version());
  app.require_subcommand(1);
  app.footer(
      "Examples:\n"
      "  reelm ask clip.mp4 \"What happens in the video?\"\n"
      "  reelm ask --model Qwen2-VL-2B-Instruct --fps 1 film.mkv \"Who enters the room?\"\n"
      "  reelm info clip.mp4\n"
      "  reelm frames clip.mp4 -o sheet.png\n"
      "`reelm COMMAND --help` tells the rest. Exit codes: 0 done, 1 failed, 2 wrong usage.");
  reelm::apps::Command chosen;
  reelm::apps::add_ask(app, chosen);
  reelm::apps::add_info(app, chosen);
  reelm::apps::add_frames(app, chosen);
  reelm::apps::add_tokenize(app, chosen);
  reelm::apps::add_verify(app, chosen);
  try {
    app.parse(argc, argv);
  } catch (const CLI::Success& e) {  // --help, --version
    return app.exit(e);
  } catch (const CLI::ParseError& e) {
    return fail(fmt::format("{} (see --help)", e.what()), kExitUsage);
  }
  return chosen();
}

}  // namespace

int main(int argc, char** argv) {
  try {
    (void)reelm::apps::interrupt_token();
    return run(argc, argv);
  } catch (const reelm::Error& e) {
    return fail(e.what(), exit_code(e.code()));
  } catch (const std::bad_alloc&) {
    return fail("out of memory", kExitFailed);
  } catch (const std::exception& e) {
    return fail(e.what(), kExitFailed);
  }
}
