// Choices of kernels that were measured on this machine, kept between runs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "../kernels/tuner.h"

namespace reelm::pipeline {

struct Model;

enum class TuneMode {
  /// Choices that were stored for this machine. What is missing is measured once tune_for() was
  /// told of a model that is worth it, and where the file can be written.
  kAuto,
  kOn,   ///< what is not among them is measured when it is met, and stored
  kOff,  ///< static rules only
};

/// "auto", "on", "off". Throws Error{kInvalidArgument}.
TuneMode parse_tune_mode(const std::string& text);

/// Lets kernels ask for choices while it lives: one at a time in a process, made and destroyed
/// while no kernel runs. Whatever is wrong with the file is a line in `warnings`, and the file is
/// as good as not there: the next one that is stored takes its place.
class Tuning {
 public:
  /// `file` empty: default_file(). `options.measure` follows from `mode`.
  explicit Tuning(TuneMode mode, std::filesystem::path file = {},
                  kernels::Tuner::Options options = {});
  Tuning(const Tuning&) = delete;
  Tuning& operator=(const Tuning&) = delete;
  ~Tuning();

  /// Writes the file if anything was measured since it was read or written.
  void store();

  kernels::Tuner& tuner() noexcept { return tuner_; }
  std::vector<std::string> warnings;

  /// reelm-tuning-<hash of the machine>.json in $XDG_CACHE_HOME/reelm or ~/.cache/reelm; empty when
  /// there is neither variable.
  static std::filesystem::path default_file();

 private:
  void read();

  const std::filesystem::path file_;  // empty: none
  kernels::Tuner tuner_;
  std::size_t stored_ = 0;  // entries of the tuner that are in the file
};

/// Has the tuner that lives (if any) measure what it lacks when `model` is of the size whose packed
/// weights are kept unasked (kKeptUnaskedBytes): a question to a smaller one may be answered before
/// measuring is done.
void tune_for(const Model& model);

}  // namespace reelm::pipeline
