#include "pipeline/packed_store.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "core/host.h"
#include "core/tensor_hash.h"
#include "core/throw.h"
#include "pipeline/packed_file.h"

namespace reelm::pipeline {

namespace {

namespace fs = std::filesystem;

constexpr const char* kKeyConfig = "config";
constexpr const char* kKeyFingerprint = "fingerprint";
// In place of a fingerprint that proves nothing.
constexpr const char* kNoFingerprint = "----------------";
// A file written again within the same tick of the file system's clock has the same times; those of
// the last second are not trusted.
constexpr std::int64_t kRacySeconds = 1;

/// Of sizes, times and inodes of the weight files; `settled` unless one of them changed just now.
std::string fingerprint_of(const Checkpoint& checkpoint, bool& settled) {
  std::string text;
  settled = true;
  for (const fs::path& path : checkpoint.paths()) {
    struct stat st {};
    const bool known = ::stat(path.c_str(), &st) == 0;
    settled = settled && known && std::time(nullptr) - st.st_ctim.tv_sec > kRacySeconds;
    text += fmt::format("{} {}.{} {}.{} {};", st.st_size, st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
                        st.st_ctim.tv_sec, st.st_ctim.tv_nsec, st.st_ino);
  }
  return hash_string(hash_bytes(std::as_bytes(std::span(text))));
}

/// Letters, digits and "._-" of a name.
std::string plain(const std::string& name) {
  std::string out;
  for (const char c : name.substr(0, 64)) {
    const bool keep = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                      c == '.' || c == '_' || c == '-';
    out += keep ? c : '_';
  }
  return out;
}

/// The file of a model in a directory of many: the same one for the same place and types, so that
/// new weights replace old ones.
fs::path file_in(const fs::path& cache, const Model& model, const std::string& types) {
  std::error_code ec;
  fs::path real = fs::canonical(model.directory, ec);
  if (ec) real = model.directory;
  if (fs::equivalent(cache, real, ec)) return cache / ("reelm-packed-" + types);
  const std::string where = real.string();
  return cache / fmt::format("reelm-packed-{}-{}-{}", plain(real.filename().string()),
                             hash_string(hash_bytes(std::as_bytes(std::span(where)))), types);
}

/// Puts the fingerprint `now` in the place of `old`, of the same length, in the header of the file.
/// Best effort: where it cannot be done the content is hashed the next time too. A reader that sees
/// half of it does the same.
void replace_fingerprint(const fs::path& path, const std::string& old, const std::string& now) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  if (fd < 0) return;
  std::array<char, 4096> head{};  // __metadata__ comes first and takes some 400 bytes
  const ssize_t n = ::pread(fd, head.data(), head.size(), 0);
  const std::string key = fmt::format("\"{}\":\"", kKeyFingerprint);
  const std::string_view text(head.data(), static_cast<std::size_t>(std::max<ssize_t>(n, 0)));
  const std::size_t at = text.find(key + old + '"');
  if (at != std::string_view::npos && now.size() == old.size()) {
    (void)!::pwrite(fd, now.data(), now.size(), static_cast<off_t>(at + key.size()));
  }
  ::close(fd);
}

}  // namespace

PackedCache PackedCache::parse(const std::string& text) {
  if (text.empty()) {
    throw_error(ErrorCode::kInvalidArgument,
                "the packed cache is '', expected auto, off or a directory");
  }
  if (text == "auto") return {};
  if (text == "off") return {Mode::kOff, {}};
  return {Mode::kDirectory, text};
}

const char* weight_source_name(WeightSource source) noexcept {
  switch (source) {
    case WeightSource::kPacked:
      return "packed";
    case WeightSource::kCache:
      return "cache";
    case WeightSource::kConverted:
      return "converted";
  }
  return "?";
}

PackedStore::PackedStore(const PackedCache& options, const Model& model, const Limits& limits,
                         const CancelToken* cancel)
    : model_(model), limits_(limits), cancel_(cancel) {
  PackedCache cache = options;
  const char* env = std::getenv("REELM_PACKED_CACHE");
  if (cache.mode == PackedCache::Mode::kAuto && env != nullptr && *env != '\0') {
    cache = PackedCache::parse(env);
  }
  if (cache.mode == PackedCache::Mode::kOff) return;
  const std::string types = fmt::format("{}-{}.safetensors", dtype_name(model.dtypes.decoder),
                                        dtype_name(model.dtypes.vision));
  if (cache.mode == PackedCache::Mode::kDirectory) {
    places_ = {file_in(cache.directory, model, types)};
  } else {
    const fs::path beside = model.directory / ("reelm-packed-" + types);
    std::error_code ec;
    if (fs::exists(beside, ec)) places_.push_back(beside);
    if (const fs::path user = user_cache_directory(); !user.empty()) {
      places_.push_back(file_in(user, model, types));
    }
    min_bytes_ = kKeptUnaskedBytes;
  }
  const std::string config = model.files.read("config.json", limits);
  config_ = hash_string(hash_bytes(std::as_bytes(std::span(config))));
  fingerprint_ = fingerprint_of(*model.checkpoint, settled_);
}

const std::string& PackedStore::content() {
  if (content_.empty()) content_ = hash_string(hash_tensors(model_.checkpoint->tensors(), cancel_));
  return content_;
}

bool PackedStore::unchanged() const {
  bool ignored = false;
  return fingerprint_of(*model_.checkpoint, ignored) == fingerprint_;
}

bool PackedStore::matches(const SafetensorsFile& file) {
  for (const auto& [key, value] : packed_metadata(model_.model_type, model_.dtypes)) {
    if (metadata_value(file, key.c_str()) != value) return false;
  }
  if (metadata_value(file, kKeyConfig) != config_) return false;
  const std::string found = metadata_value(file, kKeyFingerprint);
  if (found == fingerprint_) return true;
  if (metadata_value(file, kKeyContent) != content()) return false;
  if (settled_ && unchanged()) {
    replace_fingerprint(file.path(), found, fingerprint_);
  }
  return true;
}

std::shared_ptr<const SafetensorsFile> PackedStore::find(std::vector<std::string>& warnings) {
  for (const fs::path& place : places_) {
    std::error_code ec;
    if (!fs::exists(place, ec)) continue;
    try {
      auto file = std::make_shared<const SafetensorsFile>(SafetensorsFile::open(place, limits_));
      if (cancel_ != nullptr) cancel_->check();
      if (!matches(*file)) continue;
      check_packed_file(*file, cancel_);
      return file;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) throw;
      if (error.code() == ErrorCode::kNotFound) continue;  // removed just now
      warnings.push_back(fmt::format("{}; packing the weights again", error.what()));
    }
  }
  return nullptr;
}

void PackedStore::write_to(const fs::path& path, const layers::WeightLog& log) {
  const fs::path folder = path.parent_path();
  std::error_code ec;
  fs::create_directories(folder, ec);
  if (ec) throw_error(ErrorCode::kIo, "{}: {}", folder.string(), ec.message());
  // What would fail after a pass over all of the weights is told before it.
  if (::access(folder.c_str(), W_OK) != 0) {
    throw_error(ErrorCode::kIo, "{}: {}", folder.string(), std::strerror(errno));
  }
  const std::int64_t needed = packed_bytes(log);
  const fs::space_info space = fs::space(folder, ec);
  if (!ec && space.available < static_cast<std::uintmax_t>(needed)) {
    throw_error(ErrorCode::kIo, "{}: {} MB are free, {} MB of packed weights would take them all",
                folder.string(), space.available >> 20, needed >> 20);
  }
  auto metadata = packed_metadata(model_.model_type, model_.dtypes);
  metadata[kKeyConfig] = config_;
  metadata[kKeyContent] = content();
  metadata[kKeyFingerprint] = settled_ ? fingerprint_ : kNoFingerprint;
  if (!unchanged()) {
    throw_error(ErrorCode::kIo, "{}: the weights changed while they were packed",
                model_.directory.string());
  }
  write_packed_file(path, log, nullptr, std::move(metadata), {.cancel = cancel_});
}

void PackedStore::write(const layers::WeightLog& log, std::vector<std::string>& warnings) {
  if (packed_bytes(log) < std::max<std::int64_t>(min_bytes_, 1)) return;
  std::string last;
  for (const fs::path& place : places_) {
    try {
      write_to(place, log);
      return;
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) throw;
      last = error.what();
    }
  }
  if (!last.empty()) {
    warnings.push_back(fmt::format(
        "the packed weights are not kept for the next time (--packed-cache off: never): {}", last));
  }
}

}  // namespace reelm::pipeline
