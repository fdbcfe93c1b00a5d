#include "pipeline/model_source.h"

#include <algorithm>
#include <fstream>
#include <vector>

#include "core/gguf.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "pipeline/gguf/family.h"
#include "pipeline/gguf/tensors.h"
#include "pipeline/gguf/texts.h"

namespace reelm::pipeline {

namespace {

namespace fs = std::filesystem;

/// *.gguf of a directory, sorted: towers, or the others.
std::vector<fs::path> gguf_files_in(const fs::path& directory, bool towers) {
  std::vector<fs::path> out;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator(directory, ignored)) {
    const std::string name = entry.path().filename().string();
    const bool tower = name.find("mmproj") != std::string::npos;
    if (name.ends_with(".gguf") && tower == towers) out.push_back(entry.path());
  }
  std::sort(out.begin(), out.end());
  return out;
}

/// The only one. Throws Error{kInvalidArgument} saying how to choose when there are several; empty
/// when there is none.
fs::path only_one(const std::vector<fs::path>& found, const char* flag) {
  if (found.size() > 1) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: several GGUF files ({}, {}{}): choose with {} FILE",
                found[0].parent_path().string(), found[0].filename().string(),
                found[1].filename().string(), found.size() > 2 ? ", ..." : "", flag);
  }
  return found.empty() ? fs::path() : found[0];
}

/// The GGUF file that `model` means; empty for a directory of the other layout.
fs::path gguf_of(const fs::path& model) {
  std::error_code ignored;
  if (!fs::is_directory(model, ignored)) return is_gguf_file(model) ? model : fs::path();
  if (fs::exists(model / "config.json", ignored)) return {};
  return only_one(gguf_files_in(model, /*towers=*/false), "--model");
}

GgufFile open_part(const fs::path& path, const Limits& limits) {
  GgufFile file = GgufFile::open(path, limits);
  constexpr const char* kCount = "split.count";
  if (const auto parts = file.integer(kCount, 0, INT32_MAX); parts && *parts > 1) {
    throw_error(ErrorCode::kUnsupported,
                "{}: is one of {} parts, expected a whole file (llama-gguf-split --merge)",
                path.string(), *parts);
  }
  return file;
}

ModelSource open_gguf(const fs::path& path, const fs::path& mmproj, const Limits& limits) {
  const TimelineSpan span("gguf", SpanKind::kStage);
  std::vector<GgufFile> files;
  files.push_back(open_part(path, limits));
  const gguf::Family& family = gguf::find_family(files[0]);
  if (family.projector == nullptr && !mmproj.empty()) {
    throw_error(ErrorCode::kInvalidArgument, "{}: '{}' takes text only, expected no --mmproj",
                path.string(), family.architecture);
  }
  if (family.projector != nullptr) {
    const fs::path folder = path.has_parent_path() ? path.parent_path() : ".";
    const fs::path tower =
        mmproj.empty() ? only_one(gguf_files_in(folder, /*towers=*/true), "--mmproj") : mmproj;
    if (tower.empty()) {
      throw_error(
          ErrorCode::kNotFound,
          "{}: its vision tower is in a file of its own, and there is no *mmproj*.gguf beside "
          "it: name it with --mmproj FILE",
          path.string());
    }
    files.push_back(open_part(tower, limits));
  }
  ModelSource out;
  out.files = gguf::make_texts(files[0], files.size() > 1 ? &files[1] : nullptr, family);
  out.gguf = std::make_shared<const Checkpoint>(gguf::open_tensors(std::move(files), family));
  return out;
}

}  // namespace

std::shared_ptr<const Checkpoint> ModelSource::checkpoint(const Limits& limits) const {
  if (gguf != nullptr) return gguf;
  return std::make_shared<const Checkpoint>(Checkpoint::open(files.path(), limits));
}

bool is_gguf_file(const fs::path& path) {
  std::error_code ignored;
  if (!fs::is_regular_file(path, ignored)) return false;
  char magic[4] = {};
  std::ifstream(path, std::ios::binary).read(magic, sizeof magic);
  return std::string_view(magic, sizeof magic) == "GGUF";
}

ModelSource open_model_source(const fs::path& model, const fs::path& mmproj, const Limits& limits) {
  if (const fs::path path = gguf_of(model); !path.empty()) return open_gguf(path, mmproj, limits);
  if (!mmproj.empty()) {
    throw_error(ErrorCode::kInvalidArgument, "{}: is no GGUF file, expected one with --mmproj",
                model.string());
  }
  return {ModelFiles(model), nullptr};
}

}  // namespace reelm::pipeline
