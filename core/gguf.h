// GGUF files: what llama.cpp keeps models in.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "limits.h"
#include "mapped_file.h"
#include "stored_tensor.h"

namespace reelm {

/// Types of metadata, numbered as in the file.
enum class GgufType : std::uint32_t {
  kU8,
  kI8,
  kU16,
  kI16,
  kU32,
  kI32,
  kF32,
  kBool,
  kString,
  kArray,
  kU64,
  kI64,
  kF64,
};

/// "u32", "string", ...: for messages.
const char* gguf_type_name(GgufType type) noexcept;

/// A value of the metadata, or an array of them. Views the file's mapping.
struct GgufValue {
  GgufType type = GgufType::kU8;  ///< of each element; never kArray
  bool is_array = false;
  std::vector<std::string_view> strings;  ///< of kString: the elements
  std::span<const std::byte> numbers;     ///< of others: the elements, little-endian
};

/// One GGUF file of version 2 or 3, little-endian, mapped; every count, length and offset in its
/// header has been checked against the length of the file before it was used. Movable. Format:
/// https://github.com/ggml-org/ggml/blob/master/docs/gguf.md. Refused, as in ggml: a name or key
/// twice, tensors that overlap or lie outside the file, offsets off the alignment, rows that are
/// no whole blocks, arrays of arrays. The header may have at most Limits::json_bytes.
class GgufFile {
 public:
  /// Maps and checks `path`. Throws Error naming file and tensor or key: kNotFound/kIo from
  /// opening, kFormat (not what it claims to be), kLimit (header bytes, number and rank of
  /// tensors), kUnsupported (another version, big-endian, a tensor type nobody has heard of).
  static GgufFile open(const std::filesystem::path& path, const Limits& limits = {});

  const std::filesystem::path& path() const noexcept { return file_.path(); }
  std::uint32_t version() const noexcept { return version_; }
  /// All tensors reelm can read, sorted by name; shapes outermost first, as everywhere in reelm
  /// (the file has them the other way round).
  const std::vector<StoredTensor>& tensors() const noexcept { return tensors_; }
  /// The tensors of other types, sorted by name.
  const std::vector<OtherTensor>& other_tensors() const noexcept { return others_; }
  const std::map<std::string, GgufValue, std::less<>>& metadata() const noexcept {
    return metadata_;
  }
  /// Bytes of all tensors together.
  std::int64_t total_bytes() const noexcept { return total_bytes_; }
  /// As MappedFile::check_intact.
  void check_intact() const { file_.check_intact(); }

  /// The tensor of that name or nullptr. Throws Error{kUnsupported} when the file has it in a type
  /// reelm cannot read.
  const StoredTensor* find(std::string_view name) const;

  /// The value of `key` or nullptr.
  const GgufValue* find_value(std::string_view key) const;

  /// Metadata as what it should be; nothing where the key is missing. Throw Error{kFormat} naming
  /// file, key, found and expected. A number of 32 bits comes as the double nearest to its
  /// shortest decimal (1e-06, not 9.99999997e-07), which is what a config.json would have.
  std::optional<std::int64_t> integer(std::string_view key, std::int64_t min,
                                      std::int64_t max) const;
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> flag(std::string_view key) const;
  std::optional<std::string> string(std::string_view key) const;
  /// Of arrays. The views live as long as the file.
  std::optional<std::span<const std::string_view>> strings(std::string_view key) const;
  std::optional<std::vector<std::int64_t>> integers(std::string_view key, std::int64_t min,
                                                    std::int64_t max) const;
  std::optional<std::vector<double>> numbers(std::string_view key) const;

 private:
  GgufFile() = default;
  /// The value of `key`, if there; throws unless it is an array or not, as wanted.
  const GgufValue* checked_value(std::string_view key, bool array, bool right_type(GgufType),
                                 const char* expected) const;

  MappedFile file_;
  std::uint32_t version_ = 0;
  std::map<std::string, GgufValue, std::less<>> metadata_;
  std::vector<StoredTensor> tensors_;
  std::vector<OtherTensor> others_;
  std::int64_t total_bytes_ = 0;
};

}  // namespace reelm
