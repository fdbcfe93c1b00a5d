#include "pipeline/convert.h"

#include <algorithm>
#include <memory>

#include "core/leftovers.h"
#include "core/pending_file.h"
#include "core/tensor_hash.h"
#include "core/throw.h"
#include "layers/weight_reader.h"
#include "pipeline/model_info.h"
#include "pipeline/packed_file.h"

namespace reelm::pipeline {

namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kSideFiles[] = {
    "config.json",
    "generation_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    "tokenizer.model",
    "qwen.tiktoken",
    "ice_text.model",
    "preprocessor_config.json",
    "processor_config.json",
    "video_preprocessor_config.json",
    "chat_template.json",
    "chat_template.jinja",
    "LICENSE",
    "NOTICE",
};

/// Refuses an output that is the input, lies in it, or is in use.
void check_output(const fs::path& in, const fs::path& out, bool force) {
  const fs::path real_in = fs::canonical(in);
  const fs::path real_out = fs::weakly_canonical(fs::absolute(out));
  const auto [end_in, end_out] =
      std::mismatch(real_in.begin(), real_in.end(), real_out.begin(), real_out.end());
  if (end_in == real_in.end()) {
    throw_error(ErrorCode::kInvalidArgument, "{}: lies in the model {}, expected another directory",
                out.string(), in.string());
  }
  if (!fs::exists(fs::symlink_status(out))) return;
  if (!fs::is_directory(out)) {
    throw_error(ErrorCode::kInvalidArgument, "{}: is a file, expected a directory or nothing",
                out.string());
  }
  if (!force && !fs::is_empty(out)) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: is not empty, expected an empty or a new directory (--force replaces a model "
                "there)",
                out.string());
  }
}

/// What a failure takes away again.
class Undo {
 public:
  explicit Undo(const fs::path& directory) : directory_(directory) {
    created_ = fs::create_directory(directory);
    if (created_) leftovers_.push_back(std::make_unique<Leftover>(directory));
  }
  Undo(const Undo&) = delete;
  Undo& operator=(const Undo&) = delete;
  ~Undo() {
    std::error_code ignored;
    for (const fs::path& file : files_) fs::remove(file, ignored);
    if (created_ && !done_) fs::remove(directory_, ignored);  // only when it is empty
  }
  /// A file is about to appear; one that is there already stays.
  void add(const fs::path& file) {
    std::error_code ignored;
    if (fs::exists(fs::symlink_status(file, ignored))) return;
    files_.push_back(file);
    leftovers_.push_back(std::make_unique<Leftover>(file));
  }
  void done() {
    files_.clear();
    leftovers_.clear();
    done_ = true;
  }

 private:
  fs::path directory_;
  std::vector<fs::path> files_;
  std::vector<std::unique_ptr<Leftover>> leftovers_;  // the same for a process told to end at once
  bool created_ = false;
  bool done_ = false;
};

/// A copy that appears as `to` when it is committed.
std::unique_ptr<PendingFile> copy_aside(const std::string& content, const fs::path& to,
                                        const CancelToken* cancel) {
  auto out = std::make_unique<PendingFile>(to, cancel);
  out->write(content.data(), content.size());
  return out;
}

std::int64_t weight_bytes(const Checkpoint& checkpoint) {
  std::int64_t total = 0;
  for (const fs::path& path : checkpoint.paths()) {
    total += static_cast<std::int64_t>(fs::file_size(path));
  }
  return total;
}

std::map<std::string, std::string> metadata_of(const Model& model, const ModelInfo& info,
                                               const CancelToken* cancel) {
  auto out = packed_metadata(model.model_type, model.dtypes);
  out[kKeyContent] = hash_string(hash_tensors(model.checkpoint->tensors(), cancel));
  out[kKeyParameters] = std::to_string(info.parameters);
  out[kKeyVisionParameters] = std::to_string(info.vision_parameters);
  return out;
}

ConvertReport convert(const fs::path& in, const fs::path& out, const ConvertOptions& options) {
  const ModelInfo info = describe_model(in, options.limits, options.mmproj);
  if (info.converted) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: was converted before ({}, vision tower {}): convert the original model",
                in.string(), info.converted->dtype, info.converted->vision_dtype);
  }
  check_output(in, out, options.force);
  const auto progress = [&](const char* step, std::int64_t done, std::int64_t total) {
    if (options.on_progress) options.on_progress(step, done, total);
  };
  progress("packing", 0, 0);
  layers::WeightLog log;
  const Model model = open_model(in, {.dtypes = options.dtypes,
                                      .limits = options.limits,
                                      .packed_cache = {PackedCache::Mode::kOff, {}},
                                      .adapters = options.adapters,
                                      .mmproj = options.mmproj,
                                      .cancel = options.cancel,
                                      .log = &log});
  Undo undo(out);
  ConvertReport report{model.dtypes, {}, weight_bytes(*model.checkpoint), 0};
  // All is written aside before anything gets its name: a model that is there stays as it is until
  // the new one is complete.
  std::vector<std::unique_ptr<PendingFile>> copies;
  for (const char* name : kSideFiles) {
    if (!model.files.has(name)) continue;
    undo.add(out / name);
    copies.push_back(
        copy_aside(model.files.read(name, options.limits), out / name, options.cancel));
    report.copied.emplace_back(name);
  }
  SafetensorsWriteOptions write;
  write.cancel = options.cancel;
  write.on_progress = [&](std::int64_t done, std::int64_t total) {
    progress("writing", done, total);
  };
  undo.add(out / kWeights);
  write_packed_file(out / kWeights, log, model.checkpoint.get(),
                    metadata_of(model, info, options.cancel), write);
  for (const auto& copy : copies) copy->commit();
  for (const char* name : kSideFiles) {  // of a model that was there before
    const bool copied =
        std::find(report.copied.begin(), report.copied.end(), name) != report.copied.end();
    if (!copied) fs::remove(out / name);
  }
  undo.done();
  report.bytes_after = static_cast<std::int64_t>(fs::file_size(out / kWeights));
  return report;
}

}  // namespace

std::vector<std::string> model_side_files() {
  return {std::begin(kSideFiles), std::end(kSideFiles)};
}

ConvertReport convert_model(const fs::path& in, const fs::path& out,
                            const ConvertOptions& options) {
  try {
    return telling_out_of_memory([&] { return convert(in, out, options); });
  } catch (const fs::filesystem_error& error) {
    throw_error(ErrorCode::kIo, "{}: {}", error.path1().string(), error.code().message());
  }
}

}  // namespace reelm::pipeline
