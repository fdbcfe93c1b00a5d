#include "core/gguf.h"

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <cstring>
#include <limits>
#include <utility>

#include "core/checked.h"
#include "core/throw.h"

namespace reelm {

static_assert(std::endian::native == std::endian::little,
              "metadata is read as it lies in the file");

namespace {

constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr std::uint64_t kDefaultAlignment = 32;
constexpr std::uint64_t kMaxAlignment = 1 << 20;

/// A tensor type of ggml; `dtype` is empty for those reelm does not compute with.
struct TensorType {
  std::uint32_t id;
  const char* name;
  std::int64_t block;  // elements
  std::int64_t block_bytes;
  std::optional<DType> dtype;
};

constexpr TensorType known(std::uint32_t id, DType dtype) {
  const DTypeLayout layout = dtype_layout(dtype);
  return {id, layout.name, layout.block, layout.block_bytes, dtype};
}

// ggml.h: enum ggml_type; block sizes are those of gguf-py's GGML_QUANT_SIZES.
constexpr TensorType kTensorTypes[] = {
    known(0, DType::kF32),        known(1, DType::kF16),        known(2, DType::kQ4_0),
    known(3, DType::kQ4_1),       known(6, DType::kQ5_0),       known(7, DType::kQ5_1),
    known(8, DType::kQ8_0),       known(12, DType::kQ4_K),      known(13, DType::kQ5_K),
    known(14, DType::kQ6_K),      known(26, DType::kI32),       known(27, DType::kI64),
    known(30, DType::kBF16),      {9, "Q8_1", 32, 40, {}},      {10, "Q2_K", 256, 84, {}},
    {11, "Q3_K", 256, 110, {}},   {15, "Q8_K", 256, 292, {}},   {16, "IQ2_XXS", 256, 66, {}},
    {17, "IQ2_XS", 256, 74, {}},  {18, "IQ3_XXS", 256, 98, {}}, {19, "IQ1_S", 256, 50, {}},
    {20, "IQ4_NL", 32, 18, {}},   {21, "IQ3_S", 256, 110, {}},  {22, "IQ2_S", 256, 82, {}},
    {23, "IQ4_XS", 256, 136, {}}, {24, "I8", 1, 1, {}},         {25, "I16", 1, 2, {}},
    {28, "F64", 1, 8, {}},        {29, "IQ1_M", 256, 56, {}},   {34, "TQ1_0", 256, 54, {}},
    {35, "TQ2_0", 256, 66, {}},   {39, "MXFP4", 32, 17, {}},    {40, "NVFP4", 64, 36, {}},
    {41, "Q1_0", 128, 18, {}},
};

/// Bytes of a number of the type; 0 for strings and arrays.
std::uint64_t number_size(GgufType type) noexcept {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

/// Takes the header off a file from its beginning. Nothing is taken that the file does not have.
class Header {
 public:
  Header(const MappedFile& file, const Limits& limits)
      : path_(file.path().string()),
        bytes_(file.bytes()),
        limit_(static_cast<std::uint64_t>(limits.json_bytes)) {}

  const std::string& path() const { return path_; }
  std::uint64_t position() const { return at_; }

  /// The next `n` bytes; `what` is named in errors.
  std::span<const std::byte> take(std::uint64_t n, const std::string& what) {
    if (n > bytes_.size() - at_) {
      throw_error(ErrorCode::kFormat,
                  "{}: {} takes {} bytes, the file has {} more: cut short or damaged", path_, what,
                  n, bytes_.size() - at_);
    }
    if (at_ + n > limit_) {
      throw_error(ErrorCode::kLimit, "{}: {} lies beyond the first {} bytes, the limit json-bytes",
                  path_, what, limit_);
    }
    const auto out = bytes_.subspan(static_cast<std::size_t>(at_), static_cast<std::size_t>(n));
    at_ += n;
    return out;
  }
  template <typename T>
  T number(const std::string& what) {
    T value;
    std::memcpy(&value, take(sizeof value, what).data(), sizeof value);
    return value;
  }
  std::string_view text(const std::string& what) {
    const auto bytes = take(number<std::uint64_t>("the length of " + what), what);
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  }
  /// Throws unless `n` items of at least `item_bytes` can follow: before anything is sized by it.
  void expect_room(std::uint64_t n, std::uint64_t item_bytes, const std::string& what) const {
    const std::uint64_t left = bytes_.size() - at_;
    if (n > left / item_bytes) {
      throw_error(ErrorCode::kFormat, "{}: {} {} cannot be in the {} bytes that follow", path_, n,
                  what, left);
    }
  }

 private:
  std::string path_;
  std::span<const std::byte> bytes_;
  std::uint64_t limit_;
  std::uint64_t at_ = 0;
};

/// For messages: a name out of the file, not too long.
std::string excerpt(std::string_view name) {
  return std::string(name.substr(0, 100)) + (name.size() > 100 ? "..." : "");
}

GgufType read_type(Header& header, const std::string& what) {
  const auto id = header.number<std::uint32_t>("the type of " + what);
  if (id > static_cast<std::uint32_t>(GgufType::kF64)) {
    throw_error(ErrorCode::kFormat, "{}: {} is of type {}, expected 0 to 12", header.path(), what,
                id);
  }
  return static_cast<GgufType>(id);
}

GgufValue read_value(Header& header, const std::string& what) {
  GgufValue value;
  value.type = read_type(header, what);
  std::uint64_t n = 1;
  if (value.type == GgufType::kArray) {
    value.is_array = true;
    value.type = read_type(header, what);
    if (value.type == GgufType::kArray) {
      throw_error(ErrorCode::kUnsupported, "{}: {} is an array of arrays", header.path(), what);
    }
    n = header.number<std::uint64_t>("the length of " + what);
  }
  if (value.type == GgufType::kString) {
    header.expect_room(n, sizeof(std::uint64_t), "strings of " + what);
    value.strings.reserve(static_cast<std::size_t>(n));
    for (std::uint64_t i = 0; i < n; ++i) value.strings.push_back(header.text(what));
    return value;
  }
  const std::uint64_t size = number_size(value.type);
  header.expect_room(n, size, "values of " + what);
  value.numbers = header.take(n * size, what);
  if (value.type == GgufType::kBool) {
    for (const std::byte b : value.numbers) {
      if (std::to_integer<int>(b) <= 1) continue;
      throw_error(ErrorCode::kFormat, "{}: {} has the flag {}, expected 0 or 1", header.path(),
                  what, std::to_integer<int>(b));
    }
  }
  return value;
}

void read_version(Header& header, std::uint32_t& version) {
  if (header.number<std::uint32_t>("the magic number") != kMagic) {
    throw_error(ErrorCode::kFormat, "{}: does not begin with 'GGUF'", header.path());
  }
  version = header.number<std::uint32_t>("the version");
  if (version == 2 || version == 3) return;
  const bool swapped = version != 0 && (version & 0xffff) == 0;
  throw_error(ErrorCode::kUnsupported, "{}: {}, expected GGUF version 2 or 3, little-endian",
              header.path(),
              swapped ? "is big-endian" : fmt::format("is GGUF version {}", version));
}

/// What the header says of a tensor; sizes are checked, the place is not yet.
struct Entry {
  std::string name;
  const TensorType* type = nullptr;
  std::vector<std::int64_t> shape;
  std::uint64_t offset = 0;  // within the data
  std::uint64_t size = 0;    // in bytes
};

const TensorType& tensor_type(std::uint32_t id, const std::string& path, const std::string& what) {
  for (const TensorType& type : kTensorTypes) {
    if (type.id == id) return type;
  }
  throw_error(ErrorCode::kUnsupported, "{}: {} is of type {}, which ggml does not have", path, what,
              id);
}

/// Bytes of the tensor. Throws when rows are no whole blocks or the number overflows.
std::uint64_t size_of(const Entry& entry, const std::string& path, const std::string& what) {
  const std::int64_t columns = entry.shape.empty() ? 1 : entry.shape.back();
  if (columns % entry.type->block != 0) {
    throw_error(ErrorCode::kFormat, "{}: {} is {} with rows of {}, expected a multiple of {}", path,
                what, entry.type->name, columns, entry.type->block);
  }
  std::int64_t size = entry.type->block_bytes;
  bool overflow = __builtin_mul_overflow(size, columns / entry.type->block, &size);
  for (std::size_t d = 0; d + 1 < entry.shape.size(); ++d) {
    overflow = __builtin_mul_overflow(size, entry.shape[d], &size) || overflow;
  }
  if (overflow) {
    throw_error(ErrorCode::kFormat, "{}: the size of {} {} overflows", path, what,
                shape_string(entry.shape));
  }
  return static_cast<std::uint64_t>(size);
}

Entry read_entry(Header& header, const Limits& limits) {
  Entry entry;
  entry.name = std::string(header.text("the name of a tensor"));
  const std::string what = fmt::format("tensor '{}'", excerpt(entry.name));
  const auto rank = header.number<std::uint32_t>(what);
  if (static_cast<std::int64_t>(rank) > limits.tensor_rank) {
    throw_error(ErrorCode::kLimit, "{}: {} has {} sizes, over the limit tensor-rank ({})",
                header.path(), what, rank, limits.tensor_rank);
  }
  for (std::uint32_t d = 0; d < rank; ++d) {
    const auto size = header.number<std::uint64_t>(what);
    // No tensor of a model is empty; and no other size can hide behind a zero.
    if (size == 0 || size > INT64_MAX) {
      throw_error(ErrorCode::kFormat, "{}: {} has the size {}, expected 1 to 2^63 - 1",
                  header.path(), what, size);
    }
    entry.shape.push_back(static_cast<std::int64_t>(size));
  }
  std::reverse(entry.shape.begin(), entry.shape.end());
  entry.type = &tensor_type(header.number<std::uint32_t>(what), header.path(), what);
  entry.offset = header.number<std::uint64_t>(what);
  entry.size = size_of(entry, header.path(), what);
  return entry;
}

/// Checks that the tensors lie in the `n_bytes` of data, aligned, and share none of them.
void check_places(std::vector<Entry>& entries, std::uint64_t n_bytes, std::uint64_t alignment,
                  const std::string& path) {
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::tie(a.offset, a.size) < std::tie(b.offset, b.size);
  });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.offset > n_bytes || entry.size > n_bytes - entry.offset) {
      throw_error(
          ErrorCode::kFormat,
          "{}: tensor '{}' takes {} bytes from byte {} of the data, which has {}: cut short "
          "or damaged",
          path, excerpt(entry.name), entry.size, entry.offset, n_bytes);
    }
    if (entry.offset % alignment != 0) {
      throw_error(ErrorCode::kFormat,
                  "{}: tensor '{}' begins at byte {} of the data, expected a "
                  "multiple of {}",
                  path, excerpt(entry.name), entry.offset, alignment);
    }
    if (entry.offset < end) {
      throw_error(ErrorCode::kFormat,
                  "{}: tensor '{}' begins at byte {} of the data, but the one before ends at {}",
                  path, excerpt(entry.name), entry.offset, end);
    }
    end = entry.offset + entry.size;
  }
}

template <typename T>
T load(std::span<const std::byte> numbers, std::size_t i) {
  T value;
  std::memcpy(&value, numbers.data() + i * sizeof value, sizeof value);
  return value;
}

bool is_integer(GgufType type) {
  return type != GgufType::kF32 && type != GgufType::kF64 && type != GgufType::kBool &&
         type != GgufType::kString;
}
bool is_number(GgufType type) {
  return is_integer(type) || type == GgufType::kF32 || type == GgufType::kF64;
}
bool is_flag(GgufType type) { return type == GgufType::kBool; }
bool is_string(GgufType type) { return type == GgufType::kString; }

/// Element `i` of integers; none when it is over 2^63 - 1.
std::optional<std::int64_t> integer_at(const GgufValue& value, std::size_t i) {
  const auto& numbers = value.numbers;
  switch (value.type) {
    case GgufType::kU8:
      return load<std::uint8_t>(numbers, i);
    case GgufType::kI8:
      return load<std::int8_t>(numbers, i);
    case GgufType::kU16:
      return load<std::uint16_t>(numbers, i);
    case GgufType::kI16:
      return load<std::int16_t>(numbers, i);
    case GgufType::kU32:
      return load<std::uint32_t>(numbers, i);
    case GgufType::kI32:
      return load<std::int32_t>(numbers, i);
    case GgufType::kI64:
      return load<std::int64_t>(numbers, i);
    default:
      break;
  }
  const auto wide = load<std::uint64_t>(numbers, i);
  if (wide > INT64_MAX) return std::nullopt;
  return static_cast<std::int64_t>(wide);
}

double number_at(const GgufValue& value, std::size_t i) {
  if (value.type == GgufType::kF64) return load<double>(value.numbers, i);
  if (value.type != GgufType::kF32) {
    return static_cast<double>(integer_at(value, i).value_or(INT64_MAX));
  }
  const auto narrow = load<float>(value.numbers, i);
  if (!std::isfinite(narrow)) return static_cast<double>(narrow);
  char text[32];
  const auto written = std::to_chars(text, text + sizeof text, narrow);
  double wide = 0.0;
  std::from_chars(text, written.ptr, wide);
  return wide;
}

std::size_t count_of(const GgufValue& value) {
  return value.type == GgufType::kString ? value.strings.size()
                                         : value.numbers.size() / number_size(value.type);
}

}  // namespace

const char* gguf_type_name(GgufType type) noexcept {
  constexpr const char* kNames[] = {"u8",   "i8",     "u16",   "i16", "u32", "i32", "f32",
                                    "bool", "string", "array", "u64", "i64", "f64"};
  return kNames[static_cast<std::size_t>(type)];
}

GgufFile GgufFile::open(const std::filesystem::path& path, const Limits& limits) {
  GgufFile out;
  out.file_ = MappedFile(path);
  Header header(out.file_, limits);
  read_version(header, out.version_);
  const auto n_tensors = header.number<std::uint64_t>("the number of tensors");
  const auto n_values = header.number<std::uint64_t>("the number of metadata");
  if (n_tensors > static_cast<std::uint64_t>(limits.tensor_count)) {
    throw_error(ErrorCode::kLimit, "{}: {} tensors, over the limit tensor-count ({})",
                header.path(), n_tensors, limits.tensor_count);
  }
  for (std::uint64_t i = 0; i < n_values; ++i) {
    const std::string key(header.text("a metadata key"));
    const std::string what = fmt::format("metadata '{}'", excerpt(key));
    if (!out.metadata_.emplace(key, read_value(header, what)).second) {
      throw_error(ErrorCode::kFormat, "{}: {} is there twice", header.path(), what);
    }
  }
  std::vector<Entry> entries;
  for (std::uint64_t i = 0; i < n_tensors; ++i) entries.push_back(read_entry(header, limits));

  constexpr const char* kAlignment = "general.alignment";
  const auto alignment = static_cast<std::uint64_t>(
      out.integer(kAlignment, 1, kMaxAlignment).value_or(kDefaultAlignment));
  if (!std::has_single_bit(alignment)) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is {}, expected a power of two",
                header.path(), kAlignment, alignment);
  }
  const std::uint64_t begin = (header.position() + alignment - 1) / alignment * alignment;
  const auto file_bytes = out.file_.bytes();
  const auto data = file_bytes.subspan(
      static_cast<std::size_t>(std::min<std::uint64_t>(begin, file_bytes.size())));
  check_places(entries, data.size(), alignment, header.path());

  for (Entry& entry : entries) {
    const auto bytes =
        data.subspan(static_cast<std::size_t>(entry.offset), static_cast<std::size_t>(entry.size));
    out.total_bytes_ += std::ssize(bytes);
    if (entry.type->dtype) {
      out.tensors_.push_back(
          {std::move(entry.name), *entry.type->dtype, std::move(entry.shape), bytes});
    } else {
      out.others_.push_back(
          {std::move(entry.name), entry.type->name, std::move(entry.shape), std::ssize(bytes)});
    }
  }
  std::vector<std::string_view> names;
  for (const StoredTensor& t : out.tensors_) names.push_back(t.name);
  for (const OtherTensor& t : out.others_) names.push_back(t.name);
  std::sort(names.begin(), names.end());
  if (const auto twice = std::adjacent_find(names.begin(), names.end()); twice != names.end()) {
    throw_error(ErrorCode::kFormat, "{}: tensor '{}' is there twice", header.path(),
                excerpt(*twice));
  }
  sort_by_name(out.tensors_);
  sort_by_name(out.others_);
  return out;
}

const StoredTensor* GgufFile::find(std::string_view name) const {
  return find_tensor(tensors_, others_, name, path().string());
}

const GgufValue* GgufFile::find_value(std::string_view key) const {
  const auto it = metadata_.find(key);
  return it == metadata_.end() ? nullptr : &it->second;
}

const GgufValue* GgufFile::checked_value(std::string_view key, bool array,
                                         bool right_type(GgufType), const char* expected) const {
  const GgufValue* value = find_value(key);
  if (value != nullptr && (value->is_array != array || !right_type(value->type))) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is {}{}, expected {}", path().string(), key,
                value->is_array ? "an array of " : "", gguf_type_name(value->type), expected);
  }
  return value;
}

std::optional<std::int64_t> GgufFile::integer(std::string_view key, std::int64_t min,
                                              std::int64_t max) const {
  const GgufValue* value = checked_value(key, false, is_integer, "an integer");
  if (value == nullptr) return std::nullopt;
  const auto found = integer_at(*value, 0);
  if (!found || *found < min || *found > max) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is {}, expected {} to {}", path().string(),
                key, found ? std::to_string(*found) : "over 2^63 - 1", min, max);
  }
  return found;
}

std::optional<double> GgufFile::number(std::string_view key) const {
  const GgufValue* value = checked_value(key, false, is_number, "a number");
  if (value == nullptr) return std::nullopt;
  const double found = number_at(*value, 0);
  if (!std::isfinite(found)) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is {}, expected a finite number",
                path().string(), key, found);
  }
  return found;
}

std::optional<bool> GgufFile::flag(std::string_view key) const {
  const GgufValue* value = checked_value(key, false, is_flag, "a bool");
  if (value == nullptr) return std::nullopt;
  return value->numbers[0] != std::byte{0};
}

std::optional<std::string> GgufFile::string(std::string_view key) const {
  const GgufValue* value = checked_value(key, false, is_string, "a string");
  if (value == nullptr) return std::nullopt;
  return std::string(value->strings[0]);
}

std::optional<std::span<const std::string_view>> GgufFile::strings(std::string_view key) const {
  const GgufValue* value = checked_value(key, true, is_string, "an array of strings");
  if (value == nullptr) return std::nullopt;
  return std::span(value->strings);
}

std::optional<std::vector<std::int64_t>> GgufFile::integers(std::string_view key, std::int64_t min,
                                                            std::int64_t max) const {
  const GgufValue* value = checked_value(key, true, is_integer, "an array of integers");
  if (value == nullptr) return std::nullopt;
  std::vector<std::int64_t> out;
  for (std::size_t i = 0; i < count_of(*value); ++i) {
    const auto found = integer_at(*value, i);
    if (!found || *found < min || *found > max) {
      throw_error(ErrorCode::kFormat, "{}: metadata '{}'[{}] is {}, expected {} to {}",
                  path().string(), key, i, found ? std::to_string(*found) : "over 2^63 - 1", min,
                  max);
    }
    out.push_back(*found);
  }
  return out;
}

std::optional<std::vector<double>> GgufFile::numbers(std::string_view key) const {
  const GgufValue* value = checked_value(key, true, is_number, "an array of numbers");
  if (value == nullptr) return std::nullopt;
  std::vector<double> out;
  for (std::size_t i = 0; i < count_of(*value); ++i) {
    out.push_back(number_at(*value, i));
    if (!std::isfinite(out.back())) {
      throw_error(ErrorCode::kFormat, "{}: metadata '{}'[{}] is {}, expected a finite number",
                  path().string(), key, i, out.back());
    }
  }
  return out;
}

}  // namespace reelm
