// The weights of a model: one file of tensors, or several.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "gguf.h"
#include "limits.h"
#include "safetensors.h"
#include "stored_tensor.h"

namespace reelm {

/// The weights of a model directory in the Hugging Face layout: `model.safetensors`, or the shards
/// named by `model.safetensors.index.json`; or those of GGUF files; or tensors in memory. Movable;
/// all mappings live as long as the object.
class Checkpoint {
 public:
  /// Opens every shard; of a sharded checkpoint, the tensors are those of the index's weight_map,
  /// each of which must be in its shard. Throws Error as SafetensorsFile::open, and kNotFound when
  /// there are no weights (naming what was looked for), kUnsupported when there are only
  /// pytorch_model*.bin or *.gguf (saying what to do), kFormat for a shard name that leaves the
  /// directory.
  static Checkpoint open(const std::filesystem::path& model_dir, const Limits& limits = {});

  /// A checkpoint of tensors that lie in memory (made up, or converted): `owner` keeps their bytes
  /// alive, `name` stands for the file in messages. Throws Error{kInvalidArgument} when a name is
  /// empty or there twice, or bytes do not match shape and dtype.
  static Checkpoint from_tensors(std::vector<StoredTensor> tensors,
                                 std::shared_ptr<const void> owner, const std::string& name);

  /// A tensor of a GGUF file under the name it has for Hugging Face.
  struct Renamed {
    StoredTensor tensor;
    std::size_t file = 0;  ///< index of the file it is from, for messages
  };
  /// A checkpoint of GGUF files. The bytes of `tensors` lie in them, or where `owner` (may be null)
  /// keeps them alive. Throws Error{kFormat} when two have the same name.
  static Checkpoint from_gguf(std::vector<GgufFile> files, std::vector<Renamed> tensors,
                              std::shared_ptr<const void> owner);

  /// All tensors reelm can read, sorted by name.
  const std::vector<StoredTensor>& tensors() const noexcept { return tensors_; }
  /// The tensors of other dtypes, sorted by name.
  const std::vector<OtherTensor>& other_tensors() const noexcept { return others_; }
  /// Names of all tensors, of other dtypes too, sorted.
  std::vector<std::string> names() const;
  /// The mapped safetensors files, in the order of their names.
  const std::vector<SafetensorsFile>& files() const noexcept { return files_; }
  /// Whether the tensors are those of GGUF files.
  bool is_gguf() const noexcept { return !gguf_files_.empty(); }
  /// Paths of all mapped files, of either kind.
  const std::vector<std::filesystem::path>& paths() const noexcept { return paths_; }
  /// Bytes of all tensors together.
  std::int64_t total_bytes() const noexcept { return total_bytes_; }
  /// As MappedFile::check_intact, of every file.
  void check_intact() const {
    for (const SafetensorsFile& file : files_) file.check_intact();
    for (const GgufFile& file : gguf_files_) file.check_intact();
  }

  /// As SafetensorsFile::find.
  const StoredTensor* find(std::string_view name) const;
  /// As SafetensorsFile::get.
  const StoredTensor& get(std::string_view name, std::span<const std::int64_t> shape) const;
  const StoredTensor& get(std::string_view name, std::initializer_list<std::int64_t> shape) const {
    return get(name, std::span<const std::int64_t>(shape.begin(), shape.size()));
  }

  /// Path of the file that holds the tensor, for messages; the model directory when none does.
  std::string file_of(std::string_view name) const;

 private:
  Checkpoint() = default;

  std::filesystem::path model_dir_;
  std::vector<SafetensorsFile> files_;
  std::vector<GgufFile> gguf_files_;
  std::vector<std::filesystem::path> paths_;
  std::vector<StoredTensor> tensors_;
  std::vector<OtherTensor> others_;
  std::map<std::string, std::size_t, std::less<>> file_index_;  // tensor name -> index in paths_
  std::shared_ptr<const void> owner_;                           // of tensors that are in no file
  std::int64_t total_bytes_ = 0;
};

}  // namespace reelm
