#include "pipeline/tuning.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <thread>

#include "core/host.h"
#include "core/json.h"
#include "core/pending_file.h"
#include "core/tensor_hash.h"
#include "core/throw.h"
#include "core/version.h"
#include "kernels/isa.h"
#include "kernels/matmul.h"
#include "pipeline/model.h"

namespace reelm::pipeline {

namespace {

namespace fs = std::filesystem;
using kernels::TunedOp;
using kernels::TuneEntry;
using kernels::TuneTiming;

// Counts up when what is in the file changes its meaning: keys, candidates.
constexpr std::int64_t kFormat = 1;
constexpr std::int64_t kFileBytes = 1 << 20;
constexpr double kLongestMs = 1e6;

/// What timings hold for, beside the instruction set and threads of each.
Json machine() {
  return {{"cpu", cpu_name()},
          {"cores", std::thread::hardware_concurrency()},
          {"reelm", version()},
          {"layout", kernels::kPackedLayoutVersion}};
}

std::int32_t json_int32(const Json& object, const char* key, const std::string& where) {
  return static_cast<std::int32_t>(
      json_int(object, key, where, 0, std::numeric_limits<std::int32_t>::max()));
}

int candidate_of(TunedOp op, const std::string& name, const std::string& where) {
  const auto names = kernels::candidate_names(op);
  const auto found = std::find(names.begin(), names.end(), name);
  if (found == names.end()) {
    throw_error(ErrorCode::kFormat, "{}: unknown candidate '{}'", where, name);
  }
  return static_cast<int>(found - names.begin());
}

TunedOp op_of(const std::string& name, const std::string& where) {
  for (const TunedOp op : {TunedOp::kAttention, TunedOp::kMatmul}) {
    if (name == kernels::tuned_op_name(op)) return op;
  }
  throw_error(ErrorCode::kFormat, "{}: unknown operation '{}'", where, name);
}

std::int32_t isa_of(const std::string& name, const std::string& where) {
  for (const kernels::Isa isa : kernels::supported_isas()) {
    if (name == kernels::isa_name(isa)) return static_cast<std::int32_t>(isa);
  }
  throw_error(ErrorCode::kFormat, "{}: this machine lacks '{}'", where, name);
}

const Json& member(const Json& object, const char* key, Json::value_t type,
                   const std::string& where) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (!object.is_object() || found == object.end() || found->type() != type) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is missing or of the wrong type", where, key);
  }
  return *found;
}

TuneTiming timing_of(TunedOp op, const Json& json, const std::string& where) {
  TuneTiming timing;
  timing.candidate = candidate_of(op, json_string(json, "candidate", where), where);
  timing.ms = json_number(json, "ms", where);
  timing.eligible = json_bool_or(json, "eligible", where, true);
  if (timing.ms < 0.0 || timing.ms > kLongestMs) {
    throw_error(ErrorCode::kFormat, "{}: ms is {}, expected 0 to {}", where, timing.ms, kLongestMs);
  }
  return timing;
}

TuneEntry entry_of(const Json& json, const std::string& where) {
  TuneEntry entry;
  kernels::TuneKey& key = entry.key;
  key.op = op_of(json_string(json, "operation", where), where);
  key.type = json_int32(json, "type", where);
  key.flags = json_int32(json, "flags", where);
  key.isa = isa_of(json_string(json, "isa", where), where);
  key.threads = json_int32(json, "threads", where);
  const Json& sizes = member(json, "sizes", Json::value_t::array, where);
  if (sizes.size() != key.sizes.size()) {
    throw_error(ErrorCode::kFormat, "{}: {} sizes, expected {}", where, sizes.size(),
                key.sizes.size());
  }
  for (std::size_t i = 0; i < key.sizes.size(); ++i) {
    key.sizes[i] = json_int32({{"size", sizes[i]}}, "size", where);
  }
  entry.choice = candidate_of(key.op, json_string(json, "choice", where), where);
  entry.rule = candidate_of(key.op, json_string(json, "rule", where), where);
  const Json& timings = member(json, "timings", Json::value_t::array, where);
  if (timings.size() > kernels::candidate_names(key.op).size()) {
    throw_error(ErrorCode::kFormat, "{}: {} timings, more than there are candidates", where,
                timings.size());
  }
  for (const Json& timing : timings) {
    entry.timings.push_back(timing_of(key.op, timing, where));
  }
  return entry;
}

Json json_of(const TuneEntry& entry) {
  const kernels::TuneKey& key = entry.key;
  const auto name = [&](int candidate) {
    return kernels::candidate_names(key.op)[static_cast<std::size_t>(candidate)];
  };
  Json timings = Json::array();
  for (const TuneTiming& timing : entry.timings) {
    timings.push_back(
        {{"candidate", name(timing.candidate)}, {"ms", timing.ms}, {"eligible", timing.eligible}});
  }
  return {{"operation", kernels::tuned_op_name(key.op)},
          {"type", key.type},
          {"flags", key.flags},
          {"isa", kernels::isa_name(static_cast<kernels::Isa>(key.isa))},
          {"threads", key.threads},
          {"sizes", key.sizes},
          {"choice", name(entry.choice)},
          {"rule", name(entry.rule)},
          {"timings", std::move(timings)}};
}

/// Everything in the file, or Error.
std::vector<TuneEntry> read_file(const fs::path& path) {
  Limits limits;
  limits.json_bytes = kFileBytes;
  limits.json_depth = 8;
  const Json json = read_json_file_unique(path, limits);
  const std::string where = path.string();
  (void)json_int(json, "format", where, kFormat, kFormat);
  if (member(json, "machine", Json::value_t::object, where) != machine()) {
    throw_error(ErrorCode::kFormat, "{}: of another machine or version", where);
  }
  const Json& choices = member(json, "choices", Json::value_t::array, where);
  if (choices.size() > kernels::Tuner::kMostEntries) {
    throw_error(ErrorCode::kLimit, "{}: {} choices, expected {} at most", where, choices.size(),
                kernels::Tuner::kMostEntries);
  }
  std::vector<TuneEntry> out;
  for (std::size_t i = 0; i < choices.size(); ++i) {
    out.push_back(entry_of(choices[i], fmt::format("{}: choice {}", where, i)));
  }
  return out;
}

void write_file(const fs::path& path, const std::vector<TuneEntry>& entries) {
  Json choices = Json::array();
  for (const TuneEntry& entry : entries) choices.push_back(json_of(entry));
  const Json json = {{"format", kFormat}, {"machine", machine()}, {"choices", std::move(choices)}};
  const std::string text = json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n";
  std::error_code ec;
  fs::create_directories(path.parent_path(), ec);  // what is wrong with it, the file says
  PendingFile file(path);
  file.write(text.data(), text.size());
  file.commit();
}

/// Whether a file could appear at `path`, whose directories are made when they are missing.
bool can_appear(const fs::path& path) {
  std::error_code ec;
  fs::path directory = path.parent_path().empty() ? fs::path(".") : path.parent_path();
  while (!fs::exists(directory, ec) && directory.has_relative_path()) {
    directory = directory.parent_path();
  }
  return !path.empty() && fs::is_directory(directory, ec) &&
         ::access(directory.c_str(), W_OK | X_OK) == 0;
}

kernels::Tuner::Options with_mode(kernels::Tuner::Options options, TuneMode mode,
                                  const fs::path& file) {
  options.measure = mode == TuneMode::kOn;
  // Nobody asked for what every run would have to measure again.
  if (mode == TuneMode::kAuto && !can_appear(file)) options.total_ms = 0.0;
  return options;
}

}  // namespace

TuneMode parse_tune_mode(const std::string& text) {
  if (text == "auto") return TuneMode::kAuto;
  if (text == "on") return TuneMode::kOn;
  if (text == "off") return TuneMode::kOff;
  throw_error(ErrorCode::kInvalidArgument, "--tune is '{}', expected auto, on or off", text);
}

fs::path Tuning::default_file() {
  const fs::path cache = user_cache_directory();
  if (cache.empty()) return cache;
  const std::string key = cpu_name() + " " + std::to_string(std::thread::hardware_concurrency());
  return cache / fmt::format("reelm-tuning-{}.json",
                             hash_string(hash_bytes(std::as_bytes(std::span(key)))));
}

Tuning::Tuning(TuneMode mode, fs::path file, kernels::Tuner::Options options)
    : file_(file.empty() ? default_file() : std::move(file)),
      tuner_(with_mode(std::move(options), mode, file_)) {
  if (mode == TuneMode::kOff) return;
  read();
  // Where there is nothing to find and never will be, kernels need not look.
  if (stored_ > 0 || tuner_.options().total_ms > 0.0) kernels::set_tuner(&tuner_);
}

Tuning::~Tuning() {
  if (kernels::active_tuner() == &tuner_) kernels::set_tuner(nullptr);
}

void Tuning::read() {
  std::error_code ec;
  if (file_.empty() || !fs::exists(file_, ec)) return;
  try {
    tuner_.add(read_file(file_));
    stored_ = tuner_.entries().size();
  } catch (const Error& e) {
    warnings.push_back(
        fmt::format("stored tuning is ignored (--tune on: measured anew): {}", e.what()));
  }
}

void Tuning::store() {
  const std::vector<TuneEntry> entries = tuner_.entries();
  if (entries.size() == stored_) return;
  try {
    if (file_.empty()) {
      throw Error(ErrorCode::kIo, "neither $XDG_CACHE_HOME nor $HOME says where");
    }
    write_file(file_, entries);
    stored_ = entries.size();
  } catch (const Error& e) {
    warnings.push_back(fmt::format("tuning is not stored for the next time: {}", e.what()));
  }
}

void tune_for(const Model& model) {
  kernels::Tuner* tuner = kernels::active_tuner();
  if (tuner == nullptr) return;
  const std::size_t vision = model.vision == nullptr ? 0 : model.vision->weight_bytes();
  const auto bytes = static_cast<std::int64_t>(model.decoder->weight_bytes() + vision);
  if (bytes >= kKeptUnaskedBytes) tuner->start_measuring();
}

}  // namespace reelm::pipeline
