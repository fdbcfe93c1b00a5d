// What the tests of packed weights share: small models, their logits, and files changed on purpose.
#pragma once

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/tensor_hash.h"
#include "pipeline/engine.h"
#include "pipeline/packed_file.h"
#include "tests/support/random_model.h"
#include "tests/support/scratch_dir.h"

namespace reelm::pipeline {

namespace fs = std::filesystem;

/// Logits of the first three tokens about a picture (where the model takes one): every weight has a
/// part in them.
inline std::vector<float> logits_of(Model model) {
  struct Collector : Observer {
    std::vector<float> all;
    void on_logits(std::int64_t, TensorView<const float> logits) override {
      all.insert(all.end(), logits.data(), logits.data() + logits.size(0));
    }
  } collector;
  std::vector<preprocess::MediaSource> media;
  if (model.vision != nullptr) {
    media.push_back(preprocess::MediaSource::from_path(fs::path(REELM_TEST_MEDIA) / "square.png"));
  }
  Engine engine(std::move(model), {});
  Request request = Request::question(media, "What?");
  request.generation.max_new_tokens = 3;
  request.generation.temperature = 0.0;
  request.sampling.min_pixels = 3136;
  request.sampling.max_pixels = 12544;
  request.observer = &collector;
  (void)engine.ask(request);
  return collector.all;
}

inline PackedCache cache_in(const fs::path& directory) {
  return {PackedCache::Mode::kDirectory, directory};
}
inline const PackedCache kNoCache = {PackedCache::Mode::kOff, {}};

/// A file may hold at most so many bytes while this lives: as a full disk, for root too.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t bytes) {
    before_handler_ = ::signal(SIGXFSZ, SIG_IGN);
    ::getrlimit(RLIMIT_FSIZE, &before_);
    const struct rlimit limit = {bytes, before_.rlim_max};
    EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    ::signal(SIGXFSZ, before_handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  struct rlimit before_ {};
  void (*before_handler_)(int) = nullptr;
};

/// A packed file as someone hostile or another version would write it: changed by `change`, with a
/// checksum that is right.
inline void rewrite_packed(const fs::path& path,
                           const std::function<void(std::vector<StoredTensor>&,
                                                    std::map<std::string, std::string>&)>& change,
                           std::size_t alignment = 64) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  std::vector<StoredTensor> tensors = file.tensors();
  auto metadata = file.metadata();
  change(tensors, metadata);
  const auto by_name = [](const auto& a, const auto& b) { return a.name < b.name; };
  std::vector<StoredTensor> sorted = tensors;
  std::sort(sorted.begin(), sorted.end(), by_name);
  metadata[kKeyChecksum] = hash_string(hash_tensors(sorted));
  write_safetensors(path, tensors, metadata, {.alignment = alignment, .keep_order = true});
}

/// Calls `fn` and returns the Error it throws.
inline Error error_of(const std::function<void()>& fn) {
  try {
    fn();
  } catch (const Error& error) {
    return error;
  }
  ADD_FAILURE() << "nothing was thrown";
  return Error(ErrorCode::kIo, "");
}

/// A fixture whose directory has a model "model" made of the spec.
class PackedTest : public testing::ScratchDirTest {
 protected:
  void make_model(const std::string& name = "flat_bf16") {
    model_ = dir_ / "model";
    fs::remove_all(model_);
    test::write_random_model(model_, name);
  }
  static std::vector<fs::path> files_in(const fs::path& directory) {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(directory)) out.push_back(entry.path());
    return out;
  }
  static std::string contents(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  static void put(const fs::path& path, const std::string& bytes) {
    std::ofstream(path, std::ios::binary) << bytes;
  }

  fs::path model_;
};

}  // namespace reelm::pipeline
