// What every kind of benchmark is told, and the model it runs.
#pragma once

#include <CLI/CLI.hpp>
#include <string>

#include "apps/options.h"
#include "bench/report.h"
#include "bench/workload.h"
#include "pipeline/model.h"
#include "pipeline/synthetic.h"

namespace reelm::bench {

struct Options {
  apps::ModelOptions model;
  Workload work;
  std::string grid;
  apps::DtypeOptions dtypes;
  apps::CacheOptions cache;
  std::string kv_dtype = "auto";
  bool json = false, csv = false;
  std::string plot;

  void add_to(CLI::App& app);
  /// Fills in what is given as text, and checks the rest. Throws Error{kInvalidArgument}; kIo for a
  /// plot that cannot be written.
  void parse();
};

struct Loaded {
  pipeline::SyntheticSizes sizes;
  pipeline::Model model;
};

/// Makes a model of made-up weights. Throws as make_synthetic_model.
Loaded make_synthetic(const Options& options);
/// Opens or makes the model. Throws as open_model, make_synthetic_model.
Loaded load(const Options& options);
/// The same; how long it took goes to `totals`.
Loaded load_timed(const Options& options, Totals& totals);

/// As the other of this name, for the model loaded.
Measured run_workload(const Options& options, Loaded& loaded);

}  // namespace reelm::bench
