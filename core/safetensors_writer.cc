#include <algorithm>
#include <set>
#include <string_view>

#include "core/checked.h"
#include "core/json.h"
#include "core/pending_file.h"
#include "core/safetensors.h"
#include "core/throw.h"
#include "core/timeline.h"

namespace reelm {

namespace {

/// The order in which the reference lays out dtypes, so that wide ones start aligned.
int layout_rank(DType dtype) noexcept {
  switch (dtype) {
    case DType::kI64:
      return 0;
    case DType::kF32:
      return 1;
    case DType::kI32:
      return 2;
    case DType::kBF16:
      return 3;
    case DType::kF16:
      return 4;
    case DType::kU8:
      return 5;
    default:
      return 6;  // no type of the format
  }
}

std::vector<const StoredTensor*> laid_out(const std::string& path,
                                          std::span<const StoredTensor> tensors, bool keep_order) {
  std::vector<const StoredTensor*> order;
  for (const StoredTensor& tensor : tensors) {
    auto n_bytes = static_cast<std::int64_t>(dtype_size(tensor.dtype));
    for (const std::int64_t size : tensor.shape) {
      if (size < 0) {
        throw_error(ErrorCode::kInvalidArgument, "{}: tensor '{}' has the shape {}", path,
                    tensor.name, shape_string(tensor.shape));
      }
      n_bytes = checked_mul(n_bytes, size, "tensor");
    }
    if (n_bytes != static_cast<std::int64_t>(tensor.bytes.size())) {
      throw_error(ErrorCode::kInvalidArgument,
                  "{}: tensor '{}' is {} {}, which is {} bytes, not {}", path, tensor.name,
                  dtype_name(tensor.dtype), shape_string(tensor.shape), n_bytes,
                  tensor.bytes.size());
    }
    if (tensor.name.empty() || tensor.name == "__metadata__") {
      throw_error(ErrorCode::kInvalidArgument, "{}: a tensor cannot be named '{}'", path,
                  tensor.name);
    }
    order.push_back(&tensor);
  }
  if (keep_order) return order;
  std::sort(order.begin(), order.end(), [](const StoredTensor* a, const StoredTensor* b) {
    const int ra = layout_rank(a->dtype);
    const int rb = layout_rank(b->dtype);
    return ra != rb ? ra < rb : a->name < b->name;
  });
  return order;
}

/// The 8-byte length and the JSON, padded with spaces so that the data begins at a multiple of
/// `alignment`.
std::string make_header(const std::string& path, const std::vector<const StoredTensor*>& order,
                        const std::map<std::string, std::string>& metadata, std::size_t alignment) {
  // Put together by hand: the order of the tensors counts, and nlohmann::ordered_json is quadratic.
  std::string text = "{";
  std::set<std::string_view> seen;
  std::size_t offset = 0;
  try {
    if (!metadata.empty()) text += "\"__metadata__\":" + Json(metadata).dump() + ",";
    for (const StoredTensor* tensor : order) {
      if (!seen.insert(tensor->name).second) {
        throw_error(ErrorCode::kInvalidArgument, "{}: two tensors are named '{}'", path,
                    tensor->name);
      }
      const std::size_t end = offset + tensor->bytes.size();
      text += fmt::format("{}:{{\"dtype\":\"{}\",\"shape\":[{}],\"data_offsets\":[{},{}]}},",
                          Json(tensor->name).dump(), dtype_name(tensor->dtype),
                          fmt::join(tensor->shape, ","), offset, end);
      offset = end;
    }
  } catch (const Json::exception&) {
    throw_error(ErrorCode::kInvalidArgument, "{}: a name is not UTF-8", path);
  }
  if (text.size() > 1) text.pop_back();
  text += "}";
  text.append((alignment - (8 + text.size()) % alignment) % alignment, ' ');
  std::string length(8, '\0');
  for (int i = 0; i < 8; ++i) {
    length[static_cast<std::size_t>(i)] = static_cast<char>(std::uint64_t{text.size()} >> 8 * i);
  }
  return length + text;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, std::span<const StoredTensor> tensors,
                       const std::map<std::string, std::string>& metadata,
                       const SafetensorsWriteOptions& options) {
  REELM_CHECK(options.alignment >= 8 && options.alignment % 8 == 0);
  const auto order = laid_out(path.string(), tensors, options.keep_order);
  const std::string header = make_header(path.string(), order, metadata, options.alignment);
  std::int64_t done = 0, total = 0;
  for (const StoredTensor* tensor : order) total += std::ssize(tensor->bytes);
  TimelineSpan span("write", SpanKind::kStage);
  if (span.recorded()) span.tell({.bytes = total});
  PendingFile file(path, options.cancel);
  file.write(header.data(), header.size());
  for (const StoredTensor* tensor : order) {
    file.write(tensor->bytes.data(), tensor->bytes.size());
    done += std::ssize(tensor->bytes);
    if (options.on_progress) options.on_progress(done, total);
  }
  file.commit();
}

}  // namespace reelm
