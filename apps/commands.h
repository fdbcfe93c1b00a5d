// The subcommands of `reelm`. Each add_* describes its arguments to CLI11 and, when the subcommand
// is chosen, runs it; failures leave as reelm::Error.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>

namespace reelm::apps {

/// What main() runs once the arguments are parsed; returns the exit code.
using Command = std::function<int()>;

void add_ask(CLI::App& app, Command& chosen);
void add_chat(CLI::App& app, Command& chosen);
void add_convert(CLI::App& app, Command& chosen);
void add_info(CLI::App& app, Command& chosen);
void add_frames(CLI::App& app, Command& chosen);
void add_tokenize(CLI::App& app, Command& chosen);
void add_verify(CLI::App& app, Command& chosen);
void add_perplexity(CLI::App& app, Command& chosen);

}  // namespace reelm::apps
