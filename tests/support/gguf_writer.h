// GGUF files for tests, put together byte by byte: right ones, and such as nobody should write.
#pragma once

#include <cstdint>
#include <cstring>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "core/gguf.h"

namespace reelm::test {

/// Collects metadata and tensors; file() is the file. What is wrong is up to the test.
class GgufWriter {
 public:
  std::uint32_t version = 3;
  std::uint64_t alignment = 32;
  /// Written instead of the true counts.
  std::optional<std::uint64_t> claimed_tensors, claimed_values;

  /// Little-endian bytes of a number.
  template <typename T>
  requires std::is_arithmetic_v<T>
  static std::string raw(T value) {
    std::string out(sizeof value, '\0');
    std::memcpy(out.data(), &value, sizeof value);
    return out;
  }
  static std::string text(std::string_view s) {
    return raw(std::uint64_t{s.size()}) + std::string(s);
  }

  /// A value whose bytes, type included, are given.
  void raw_value(std::string_view key, const std::string& bytes) {
    values_ += text(key) + bytes;
    ++n_values_;
  }
  void value(std::string_view key, std::string_view s) {
    raw_value(key, type(GgufType::kString) + text(s));
  }
  void value(std::string_view key, const char* s) { value(key, std::string_view(s)); }
  void value(std::string_view key, std::uint32_t v) {
    raw_value(key, type(GgufType::kU32) + raw(v));
  }
  void value(std::string_view key, std::int32_t v) {
    raw_value(key, type(GgufType::kI32) + raw(v));
  }
  void value(std::string_view key, float v) { raw_value(key, type(GgufType::kF32) + raw(v)); }
  void value(std::string_view key, bool v) {
    raw_value(key, type(GgufType::kBool) + raw(static_cast<std::uint8_t>(v)));
  }
  void value(std::string_view key, std::span<const std::string> strings) {
    std::string bytes = array(GgufType::kString, strings.size());
    for (const std::string& s : strings) bytes += text(s);
    raw_value(key, bytes);
  }
  void value(std::string_view key, std::span<const std::int32_t> numbers) {
    std::string bytes = array(GgufType::kI32, numbers.size());
    for (const std::int32_t v : numbers) bytes += raw(v);
    raw_value(key, bytes);
  }
  void value(std::string_view key, std::span<const float> numbers) {
    std::string bytes = array(GgufType::kF32, numbers.size());
    for (const float v : numbers) bytes += raw(v);
    raw_value(key, bytes);
  }
  /// The beginning of an array of `n`.
  static std::string array(GgufType of, std::uint64_t n) {
    return type(GgufType::kArray) + type(of) + raw(n);
  }
  static std::string type(GgufType t) { return raw(static_cast<std::uint32_t>(t)); }

  /// A tensor of ggml's type `id`, its shape outermost first, behind those before.
  void tensor(std::string_view name, std::uint32_t id, const std::vector<std::uint64_t>& shape,
              std::string_view bytes) {
    raw_tensor(name, id, shape, data_.size());
    data_.append(bytes);
    data_.append((alignment - data_.size() % alignment) % alignment, '\0');
  }
  /// Only what the header says of one.
  void raw_tensor(std::string_view name, std::uint32_t id, const std::vector<std::uint64_t>& shape,
                  std::uint64_t offset) {
    infos_ += text(name) + raw(static_cast<std::uint32_t>(shape.size()));
    for (auto size = shape.rbegin(); size != shape.rend(); ++size) infos_ += raw(*size);
    infos_ += raw(id) + raw(offset);
    ++n_tensors_;
  }
  void data(std::string_view bytes) { data_.append(bytes); }

  std::string file() const {
    std::string out = "GGUF" + raw(version) + raw(claimed_tensors.value_or(n_tensors_)) +
                      raw(claimed_values.value_or(n_values_)) + values_ + infos_;
    if (!data_.empty()) out.append((alignment - out.size() % alignment) % alignment, '\0');
    return out + data_;
  }

 private:
  std::string values_, infos_, data_;
  std::uint64_t n_values_ = 0, n_tensors_ = 0;
};

}  // namespace reelm::test
