#include "core/safetensors.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <set>
#include <utility>

#include "core/json.h"
#include "core/throw.h"

namespace reelm {

namespace {

constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // as the reference
constexpr const char* kMetadata = "__metadata__";

/// A dtype of the format; `dtype` is empty for those reelm does not compute with.
struct DTypeInfo {
  const char* name;
  int bits;
  std::optional<DType> dtype;
};

constexpr DTypeInfo kDTypes[] = {
    {"F32", 32, DType::kF32},
    {"F16", 16, DType::kF16},
    {"BF16", 16, DType::kBF16},
    {"I64", 64, DType::kI64},
    {"I32", 32, DType::kI32},
    {"U8", 8, DType::kU8},
    {"BOOL", 8, {}},
    {"F4", 4, {}},
    {"F6_E2M3", 6, {}},
    {"F6_E3M2", 6, {}},
    {"I8", 8, {}},
    {"F8_E5M2", 8, {}},
    {"F8_E4M3", 8, {}},
    {"F8_E8M0", 8, {}},
    {"F8_E4M3FNUZ", 8, {}},
    {"F8_E5M2FNUZ", 8, {}},
    {"I16", 16, {}},
    {"U16", 16, {}},
    {"U32", 32, {}},
    {"F64", 64, {}},
    {"C64", 64, {}},
    {"U64", 64, {}},
};

/// What the header says of one tensor, checked.
struct Entry {
  std::string name;
  const DTypeInfo* dtype;
  std::vector<std::int64_t> shape;
  std::uint64_t begin;  // within the data
  std::uint64_t end;
};

const DTypeInfo& dtype_of(const Json& entry, const std::string& where) {
  const std::string name = json_string(entry, "dtype", where);
  for (const DTypeInfo& info : kDTypes) {
    if (name == info.name) return info;
  }
  throw_error(ErrorCode::kUnsupported, "{}: dtype {} is none of the safetensors format's", where,
              Json(name.substr(0, 60)).dump(-1, ' ', true, Json::error_handler_t::replace));
}

const Json& array_of(const Json& entry, const char* key, const std::string& where) {
  const auto it = entry.find(key);
  if (it == entry.end() || !it->is_array()) {
    throw_error(ErrorCode::kFormat, "{}: '{}' is {}, expected an array of numbers", where, key,
                it == entry.end() ? "missing" : it->type_name());
  }
  return *it;
}

std::uint64_t number_of(const Json& value, const char* key, const std::string& where) {
  if (!value.is_number_unsigned() || value.get<std::uint64_t>() > INT64_MAX) {
    throw_error(ErrorCode::kFormat, "{}: '{}' has {}, expected whole numbers from 0", where, key,
                value.is_number() ? value.dump() : value.type_name());
  }
  return value.get<std::uint64_t>();
}

Entry parse_entry(const std::string& name, const Json& json, const std::string& where,
                  std::uint64_t data_bytes, const Limits& limits) {
  if (!json.is_object()) {
    throw_error(ErrorCode::kFormat, "{}: expected an object, found {}", where, json.type_name());
  }
  Entry entry{name, &dtype_of(json, where), {}, 0, 0};
  std::uint64_t bits = static_cast<std::uint64_t>(entry.dtype->bits);
  bool empty = false;
  bool overflow = false;
  const Json& shape = array_of(json, "shape", where);
  if (static_cast<std::int64_t>(shape.size()) > limits.tensor_rank) {
    throw_error(ErrorCode::kLimit, "{}: a shape of {} sizes, over the limit tensor-rank ({})",
                where, shape.size(), limits.tensor_rank);
  }
  for (const Json& value : shape) {
    const std::uint64_t size = number_of(value, "shape", where);
    entry.shape.push_back(static_cast<std::int64_t>(size));
    empty = empty || size == 0;
    overflow = __builtin_mul_overflow(bits, size, &bits) || overflow;
  }
  if (empty) bits = 0;
  if (overflow && !empty) {
    throw_error(ErrorCode::kFormat, "{}: the size of {} overflows", where, json["shape"].dump());
  }
  const Json& offsets = array_of(json, "data_offsets", where);
  if (offsets.size() != 2) {
    throw_error(ErrorCode::kFormat, "{}: 'data_offsets' has {} numbers, expected 2", where,
                offsets.size());
  }
  entry.begin = number_of(offsets[0], "data_offsets", where);
  entry.end = number_of(offsets[1], "data_offsets", where);
  if (entry.begin > entry.end || entry.end > data_bytes) {
    throw_error(ErrorCode::kFormat, "{}: data_offsets [{}, {}] lie outside the {} bytes of data",
                where, entry.begin, entry.end, data_bytes);
  }
  if (bits % 8 != 0 || entry.end - entry.begin != bits / 8) {
    throw_error(ErrorCode::kFormat, "{}: {} {} takes {} bits, but data_offsets give it {} bytes",
                where, entry.dtype->name, shape_string(entry.shape), bits, entry.end - entry.begin);
  }
  return entry;
}

/// The JSON text behind the 8-byte length.
std::string_view header_text(const MappedFile& file, const Limits& limits) {
  const auto bytes = file.bytes();
  const std::string path = file.path().string();
  if (bytes.size() < 8) {
    throw_error(ErrorCode::kFormat, "{}: {} bytes, too short for a safetensors file", path,
                bytes.size());
  }
  std::uint64_t size = 0;
  for (int i = 7; i >= 0; --i) size = size << 8 | std::to_integer<std::uint64_t>(bytes[i]);
  if (size > bytes.size() - 8) {
    throw_error(ErrorCode::kFormat,
                "{}: the header claims {} bytes, but the file has only {} behind its length: "
                "damaged, cut short or not safetensors",
                path, size, bytes.size() - 8);
  }
  if (size > kMaxHeaderBytes || size > static_cast<std::uint64_t>(limits.json_bytes)) {
    throw_error(ErrorCode::kLimit, "{}: a header of {} bytes is over the limit json-bytes ({})",
                path, size,
                std::min(kMaxHeaderBytes, static_cast<std::uint64_t>(limits.json_bytes)));
  }
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()) + 8,
                              static_cast<std::size_t>(size));
  if (text.empty() || text[0] != '{') {
    throw_error(ErrorCode::kFormat, "{}: the header does not begin with '{{': not safetensors",
                path);
  }
  return text;
}

/// All tensors of a header, in the order of their data, which they fill without gap or overlap.
std::vector<Entry> parse_entries(const Json& header, const std::string& path,
                                 std::uint64_t data_bytes, const Limits& limits) {
  if (static_cast<std::int64_t>(header.size()) > limits.tensor_count) {
    throw_error(ErrorCode::kLimit, "{}: {} tensors, over the limit tensor-count ({})", path,
                header.size(), limits.tensor_count);
  }
  std::vector<Entry> entries;
  for (const auto& [name, json] : header.get_ref<const Json::object_t&>()) {
    if (name == kMetadata) continue;
    entries.push_back(
        parse_entry(name, json, fmt::format("{}: tensor '{}'", path, name), data_bytes, limits));
  }
  std::sort(entries.begin(), entries.end(), [](const Entry& a, const Entry& b) {
    return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
  });
  std::uint64_t end = 0;
  for (const Entry& entry : entries) {
    if (entry.begin != end) {
      throw_error(ErrorCode::kFormat,
                  "{}: tensor '{}' begins at byte {} of the data, but the one before ends at {}",
                  path, entry.name, entry.begin, end);
    }
    end = entry.end;
  }
  if (end != data_bytes) {
    throw_error(ErrorCode::kFormat, "{}: the tensors end at byte {} of {} bytes of data", path, end,
                data_bytes);
  }
  return entries;
}

}  // namespace

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path, const Limits& limits) {
  SafetensorsFile out;
  out.file_ = MappedFile(path);
  const std::string_view text = header_text(out.file_, limits);
  const auto data = out.file_.bytes().subspan(8 + text.size());
  const Json header = parse_json_unique(text, path.string(), limits);
  for (const Entry& entry : parse_entries(header, path.string(), data.size(), limits)) {
    const auto bytes = data.subspan(static_cast<std::size_t>(entry.begin),
                                    static_cast<std::size_t>(entry.end - entry.begin));
    out.total_bytes_ += static_cast<std::int64_t>(bytes.size());
    if (entry.dtype->dtype) {
      out.tensors_.push_back({entry.name, *entry.dtype->dtype, entry.shape, bytes});
    } else {
      out.others_.push_back(
          {entry.name, entry.dtype->name, entry.shape, static_cast<std::int64_t>(bytes.size())});
    }
  }
  sort_by_name(out.tensors_);
  sort_by_name(out.others_);
  if (const auto it = header.find(kMetadata); it != header.end()) {
    const std::string where = path.string() + ": " + kMetadata;
    if (!it->is_object()) {
      throw_error(ErrorCode::kFormat, "{}: expected an object, found {}", where, it->type_name());
    }
    for (const auto& [key, value] : it->items()) out.metadata_[key] = json_string(*it, key, where);
  }
  return out;
}

const StoredTensor* SafetensorsFile::find(std::string_view name) const {
  return find_tensor(tensors_, others_, name, path().string());
}

const StoredTensor& SafetensorsFile::get(std::string_view name,
                                         std::span<const std::int64_t> shape) const {
  return check_tensor(find(name), name, shape, path().string());
}

}  // namespace reelm
