#include "apps/tune_option.h"

#include <filesystem>
#include <vector>

#include "apps/output.h"
#include "core/throw.h"
#include "pipeline/tuning.h"

namespace reelm::apps {

void TuneOption::add_to(CLI::App& app) {
  const auto names = kernels::candidate_names(kernels::TunedOp::kAttention);
  std::vector<std::string> known = {"auto"};
  known.insert(known.end(), names.begin(), names.end());
  app.add_option("--attention", attention_,
                 "what computes attention wherever it can (auto: by shape, see --tune)")
      ->check(CLI::IsMember(known))
      ->capture_default_str()
      ->type_name("NAME")
      ->group("Tuning");
  app.add_option("--tune", mode_,
                 "choices of kernels by shape; answers are the same. auto: as stored for this "
                 "machine, and reelm ask and chat measure and store those that are missing for a "
                 "model of 64 MB and more; on: measure and store in any case; off: static rules")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str()
      ->group("Tuning");
  app.add_option("--tune-file", file_,
                 "where choices are stored (else reelm-tuning-*.json in ~/.cache/reelm)")
      ->type_name("FILE.json")
      ->group("Tuning");
}

int TuneOption::run(const CLI::App& command, const std::function<int()>& work) const {
  if (command.get_option_no_throw("--tune") == nullptr) return work();
  const pipeline::TuneMode mode = pipeline::parse_tune_mode(mode_);
  const std::filesystem::path file =
      file_.empty() ? pipeline::Tuning::default_file() : std::filesystem::path(file_);
  if (mode == pipeline::TuneMode::kOn && !file.empty()) {
    std::error_code ec;  // what is wrong with the folder, the file says
    if (file_.empty()) std::filesystem::create_directories(file.parent_path(), ec);
    check_writable(file);
  }
  if (mode == pipeline::TuneMode::kAuto && !file_.empty() && !std::filesystem::exists(file)) {
    throw_error(ErrorCode::kNotFound, "{}: no such file (--tune on makes it)", file_);
  }
  kernels::force_candidate(kernels::TunedOp::kAttention, attention_);
  pipeline::Tuning tuning(mode, file);
  const CLI::Option* quiet = command.get_option_no_throw("--quiet");
  const auto say = [&] {
    for (const std::string& warning : tuning.warnings) {
      if (quiet == nullptr || quiet->count() == 0) warn(warning);
    }
    tuning.warnings.clear();
  };
  say();
  const int code = work();
  tuning.store();
  say();
  return code;
}

}  // namespace reelm::apps
