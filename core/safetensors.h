// Tensors stored in safetensors files: one file, or a checkpoint of one or several shards.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cancel.h"
#include "dtype.h"
#include "limits.h"
#include "mapped_file.h"

namespace reelm {

/// One tensor of a file: dense, row-major, little-endian. `bytes` lies in the mapping of the
/// SafetensorsFile or Checkpoint it came from and lives as long as that. It starts wherever the
/// file puts it, perhaps at an odd address: read it with memcpy or unaligned loads, never through
/// a cast pointer.
struct StoredTensor {
  std::string name;
  DType dtype = DType::kF32;
  std::vector<std::int64_t> shape;   ///< sizes, outermost first; empty for a scalar
  std::span<const std::byte> bytes;  ///< exactly product(shape) * dtype_size(dtype) of them
};

/// A tensor of a dtype the format knows and reelm does not compute with (F64, BOOL, F8_E4M3, ...).
/// Listed so that programs can show it; asking for it by name is an error.
struct OtherTensor {
  std::string name;
  std::string dtype;  ///< as the file spells it
  std::vector<std::int64_t> shape;
  std::int64_t n_bytes = 0;
};

/// One safetensors file, mapped; every size in its header has been checked against the length of
/// the file before it was used. Movable. Format: https://github.com/huggingface/safetensors, whose
/// checks these are (data without gaps, overlap or remainder; rank at most Limits::tensor_rank;
/// header at most 100 MB and Limits::json_bytes; a name at most once).
class SafetensorsFile {
 public:
  /// Maps and checks `path`. Throws Error naming file and tensor: kNotFound/kIo from opening,
  /// kFormat (not what it claims to be), kLimit (header bytes, number and rank of tensors),
  /// kUnsupported (a dtype nobody has heard of).
  static SafetensorsFile open(const std::filesystem::path& path, const Limits& limits = {});

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  /// All tensors reelm can read, sorted by name.
  const std::vector<StoredTensor>& tensors() const noexcept { return tensors_; }
  /// The tensors of other dtypes, sorted by name.
  const std::vector<OtherTensor>& other_tensors() const noexcept { return others_; }
  /// The strings of `__metadata__`; empty when there is none.
  const std::map<std::string, std::string>& metadata() const noexcept { return metadata_; }
  /// Bytes of all tensors together, header not counted.
  std::int64_t total_bytes() const noexcept { return total_bytes_; }
  /// As MappedFile::check_intact.
  void check_intact() const { file_.check_intact(); }

  /// The tensor of that name or nullptr. Throws Error{kUnsupported} when the file has it in a dtype
  /// reelm cannot read.
  const StoredTensor* find(std::string_view name) const;
  /// The F32, F16 or BF16 tensor of that name and shape. Throws Error naming file, tensor, what was
  /// found and what was expected: kNotFound, kFormat (shape, integers), kUnsupported (dtype).
  const StoredTensor& get(std::string_view name, std::span<const std::int64_t> shape) const;
  const StoredTensor& get(std::string_view name, std::initializer_list<std::int64_t> shape) const {
    return get(name, std::span<const std::int64_t>(shape.begin(), shape.size()));
  }

 private:
  SafetensorsFile() = default;

  MappedFile file_;
  std::vector<StoredTensor> tensors_;
  std::vector<OtherTensor> others_;
  std::map<std::string, std::string> metadata_;
  std::int64_t total_bytes_ = 0;
};

/// The weights of a model directory in the Hugging Face layout: `model.safetensors`, or the shards
/// named by `model.safetensors.index.json`; or tensors in memory. Movable; all mappings live as
/// long as the object.
class Checkpoint {
 public:
  /// Opens every shard; of a sharded checkpoint, the tensors are those of the index's weight_map,
  /// each of which must be in its shard. Throws Error as SafetensorsFile::open, and kNotFound when
  /// there are no weights (naming what was looked for), kUnsupported when there are only
  /// pytorch_model*.bin or *.gguf (saying how to convert), kFormat for a shard name that leaves the
  /// directory.
  static Checkpoint open(const std::filesystem::path& model_dir, const Limits& limits = {});

  /// A checkpoint of tensors that lie in memory (made up, or converted): `owner` keeps their bytes
  /// alive, `name` stands for the file in messages. Throws Error{kInvalidArgument} when a name is
  /// empty or there twice, or bytes do not match shape and dtype.
  static Checkpoint from_tensors(std::vector<StoredTensor> tensors,
                                 std::shared_ptr<const void> owner, const std::string& name);

  /// All tensors reelm can read, sorted by name.
  const std::vector<StoredTensor>& tensors() const noexcept { return tensors_; }
  /// The tensors of other dtypes, sorted by name.
  const std::vector<OtherTensor>& other_tensors() const noexcept { return others_; }
  /// Names of all tensors, of other dtypes too, sorted.
  std::vector<std::string> names() const;
  /// The mapped files, in the order of their names.
  const std::vector<SafetensorsFile>& files() const noexcept { return files_; }
  /// Bytes of all tensors together.
  std::int64_t total_bytes() const noexcept { return total_bytes_; }
  /// As MappedFile::check_intact, of every file.
  void check_intact() const {
    for (const SafetensorsFile& file : files_) file.check_intact();
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
  std::vector<StoredTensor> tensors_;
  std::vector<OtherTensor> others_;
  std::map<std::string, std::size_t, std::less<>> file_index_;  // tensor name -> index in files_
  std::shared_ptr<const void> owner_;                           // of tensors that are in no file
  std::int64_t total_bytes_ = 0;
};

/// How write_safetensors writes.
struct SafetensorsWriteOptions {
  /// The data begins at a multiple of this many bytes; 8 or a multiple of 8.
  std::size_t alignment = 8;
  /// Tensors lie in the order given, not in the reference's.
  bool keep_order = false;
  const CancelToken* cancel = nullptr;  ///< polled every 16 MB
  /// Called after each tensor with the bytes of data written and those of all.
  std::function<void(std::int64_t done, std::int64_t total)> on_progress = nullptr;
};

/// Writes tensors as one safetensors file, as the reference's serialize does: widest dtype first,
/// then by name, header padded to 8 bytes. Writes beside `path`, syncs and renames, so that a
/// reader sees the old file or the new one, never half; nothing is copied in memory. Throws
/// Error{kInvalidArgument} when a name is there twice or empty or bytes do not match shape and
/// dtype, Error{kIo} when writing fails, Error{kCancelled}; nothing is left behind then.
void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {},
                       const SafetensorsWriteOptions& options = {});

/// "[2, 3]": a shape for messages.
std::string shape_string(std::span<const std::int64_t> shape);

}  // namespace reelm
