// Tensors in safetensors files: reading and writing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <initializer_list>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "cancel.h"
#include "limits.h"
#include "mapped_file.h"
#include "stored_tensor.h"

namespace reelm {

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

}  // namespace reelm
