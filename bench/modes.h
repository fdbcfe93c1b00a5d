// The kinds of benchmark that reelm-bench has: a file each.
#pragma once

#include <CLI/CLI.hpp>
#include <memory>

#include "bench/options.h"

namespace reelm::bench {

/// One kind: its flags, and what they start.
class Mode {
 public:
  virtual ~Mode() = default;
  /// Behind Options::add_to, and in the order below: what excludes another's flag comes after it.
  virtual void add_to(CLI::App& app) = 0;
  /// Whether its flag was given.
  virtual bool chosen() const = 0;
  /// Prints the result. Throws Error.
  virtual void run(const Options& options) const = 0;
};

std::unique_ptr<Mode> per_token_mode();
std::unique_ptr<Mode> matrix_mode();
std::unique_ptr<Mode> replicas_mode();
std::unique_ptr<Mode> ladder_mode();
std::unique_ptr<Mode> tune_report_mode();
/// Every stage against the machine's ceilings: chosen when no other is.
std::unique_ptr<Mode> stages_mode();

}  // namespace reelm::bench
