#include "layers/weight_reader.h"

#include <algorithm>
#include <cstring>

#include "core/throw.h"
#include "kernels/convert.h"
#include "kernels/dequantize.h"

namespace reelm::layers {

namespace {

/// Without the type.
std::string packed_name(std::span<const LinearPart> parts, const char* joint) {
  std::string name = parts[0].prefix;
  for (const LinearPart& part : parts.subspan(1)) {
    name.append(joint).append(part.prefix, part.prefix.rfind('.') + 1);
  }
  return name;
}

using kernels::ComputeType;

/// The types under which a weight that is wanted as `type` may have been packed.
std::span<const ComputeType> packed_types(ComputeType type) {
  static constexpr ComputeType kAll[] = {ComputeType::kF32,  ComputeType::kBF16,
                                         ComputeType::kInt8, ComputeType::kInt4,
                                         ComputeType::kQ8_0, ComputeType::kQ4_0};
  static constexpr ComputeType kKept[] = {ComputeType::kQ8_0, ComputeType::kQ4_0,
                                          ComputeType::kInt8};
  if (kernels::keeps_blocks(type)) return kKept;
  return std::span(kAll).subspan(static_cast<std::size_t>(type), 1);
}

/// What parts are packed to that are wanted as `type`.
ComputeType packed_type(std::span<const kernels::StoredMatrix> parts, ComputeType type) {
  if (!kernels::keeps_blocks(type)) return type;
  for (const ComputeType kept : {ComputeType::kQ8_0, ComputeType::kQ4_0}) {
    const DType stored = kernels::stored_type(kept);
    if (std::all_of(parts.begin(), parts.end(), [&](auto& p) { return p.dtype == stored; })) {
      return kept;
    }
  }
  return ComputeType::kInt8;
}

std::string without_suffix(const std::string& name) {
  const std::string_view suffix = ".weight";
  return name.ends_with(suffix) ? name.substr(0, name.size() - suffix.size()) : name;
}

kernels::StoredMatrix rows_of(const kernels::StoredMatrix& matrix, const RowRange& rows) {
  const auto* bytes = static_cast<const std::byte*>(matrix.data);
  return {bytes + dtype_bytes(matrix.dtype, rows.first * matrix.cols), matrix.dtype, rows.count,
          matrix.cols};
}

}  // namespace

bool WeightReader::has(const std::string& name) const {
  if (checkpoint_->find(name) != nullptr) return true;
  const std::string prefix = without_suffix(name) + ".";
  const auto& tensors = checkpoint_->tensors();
  const auto at = std::lower_bound(
      tensors.begin(), tensors.end(), prefix,
      [](const StoredTensor& t, const std::string& wanted) { return t.name < wanted; });
  return at != tensors.end() && at->name.starts_with(prefix) && at->dtype == DType::kU8;
}

void WeightReader::note(const std::string& name, const kernels::PackedMatrix& weight,
                        bool from_file) const {
  if (log_ == nullptr) return;
  log_->packed.push_back(
      {name + "." + kernels::compute_type_name(weight.type()), weight.shared_copy(), from_file});
}

kernels::PackedMatrix WeightReader::pack(const std::string& name,
                                         std::span<const kernels::StoredMatrix> parts,
                                         kernels::ComputeType type) const {
  kernels::PackedMatrix out(parts, packed_type(parts, type));
  note(name, out, /*from_file=*/false);
  return out;
}

bool WeightReader::find_packed(const std::string& name, std::int64_t out_features,
                               std::int64_t in_features, kernels::ComputeType wanted,
                               kernels::PackedMatrix& out) const {
  for (const kernels::ComputeType type : packed_types(wanted)) {
    if (find_packed_as(name, out_features, in_features, type, out)) return true;
  }
  return false;
}

bool WeightReader::find_packed_as(const std::string& prefix, std::int64_t out_features,
                                  std::int64_t in_features, kernels::ComputeType type,
                                  kernels::PackedMatrix& out) const {
  const std::string name = prefix + "." + kernels::compute_type_name(type);
  const StoredTensor* tensor = packed_ == nullptr ? nullptr : packed_->find(name);
  std::shared_ptr<const void> owner = packed_;
  if (tensor == nullptr) {
    tensor = checkpoint_->find(name);
    owner = checkpoint_;
  }
  if (tensor == nullptr) return false;
  try {
    out = kernels::PackedMatrix::from_packed(out_features, in_features, type, tensor->bytes,
                                             std::move(owner));
  } catch (const Error& error) {
    throw_error(error.code(), "{}: tensor '{}': {}", checkpoint_->file_of(name), name,
                error.what());
  }
  note(prefix, out, /*from_file=*/true);
  return true;
}

kernels::StoredMatrix WeightReader::stored(const std::string& name,
                                           std::initializer_list<std::int64_t> shape) const {
  if (cancel_ != nullptr) cancel_->check();
  const StoredTensor& tensor = checkpoint_->get(name, shape);
  std::int64_t cols = 1;
  for (const std::int64_t size : std::span(shape.begin(), shape.size()).subspan(1)) cols *= size;
  return {tensor.bytes.data(), tensor.dtype, *shape.begin(), cols};
}

WeightReader::Source WeightReader::source(const std::string& name,
                                          std::initializer_list<std::int64_t> shape) const {
  Source out = {stored(name, shape), {}};
  if (adapters_ == nullptr) return out;
  out.merged = merge_adapters(*adapters_, name, out.matrix);
  if (out.merged.size() > 0) {
    out.matrix.data = out.merged.data();
    out.matrix.dtype = DType::kF32;
  }
  return out;
}

WeightReader::Source WeightReader::source(const LinearPart& part) const {
  return source(part.prefix + ".weight", {part.out_features, part.in_features});
}

kernels::StoredMatrix WeightReader::matrix(const std::string& name,
                                           std::initializer_list<std::int64_t> shape) const {
  const kernels::StoredMatrix out = stored(name, shape);
  if (adapters_ != nullptr) {
    for (const LoraAdapter& adapter : *adapters_) adapter.check_leaves(name);
  }
  if (log_ != nullptr) log_->stored.push_back(name);
  return out;
}

AlignedBuffer<float> WeightReader::vector(const std::string& name, std::int64_t size) const {
  const kernels::StoredMatrix stored = matrix(name, {size});
  AlignedBuffer<float> out(static_cast<std::size_t>(size));
  copy_elements(stored, 0, size, out.data());
  return out;
}

kernels::PackedMatrix WeightReader::weight(const std::string& name,
                                           std::initializer_list<std::int64_t> shape,
                                           kernels::ComputeType type) const {
  const std::vector<std::int64_t> sizes(shape);
  std::int64_t cols = 1;
  for (std::size_t d = 1; d < sizes.size(); ++d) cols *= sizes[d];
  const std::string packed = without_suffix(name);
  kernels::PackedMatrix out;
  if (find_packed(packed, sizes[0], cols, type, out)) return out;
  const Source from = source(name, shape);
  return pack(packed, {&from.matrix, 1}, type);
}

Linear WeightReader::linear(std::span<const LinearPart> parts, bool has_bias,
                            kernels::ComputeType type) const {
  std::int64_t out_features = 0;
  for (const LinearPart& part : parts) out_features += part.out_features;
  Linear linear;
  if (has_bias) {
    linear.bias = AlignedBuffer<float>(static_cast<std::size_t>(out_features));
    float* out = linear.bias.data();
    for (const LinearPart& part : parts) {
      copy_elements(matrix(part.prefix + ".bias", {part.out_features}), 0, part.out_features, out);
      out += part.out_features;
    }
  }
  const std::string packed = packed_name(parts, "+");
  if (find_packed(packed, out_features, parts[0].in_features, type, linear.weight)) return linear;
  std::vector<Source> sources;
  std::vector<kernels::StoredMatrix> matrices;
  for (const LinearPart& part : parts) {
    sources.push_back(source(part));
    matrices.push_back(sources.back().matrix);
  }
  linear.weight = pack(packed, matrices, type);
  return linear;
}

Linear WeightReader::linear(const LinearPart& part, const RowOrder& order, bool has_bias,
                            kernels::ComputeType type) const {
  std::int64_t rows = 0;
  for (const RowRange& range : order.ranges) {
    REELM_CHECK(range.first >= 0 && range.count <= part.out_features - range.first);
    rows += range.count;
  }
  REELM_CHECK(rows == part.out_features);
  Linear linear;
  if (has_bias) {
    linear.bias = AlignedBuffer<float>(static_cast<std::size_t>(rows));
    const kernels::StoredMatrix bias = matrix(part.prefix + ".bias", {rows});
    float* out = linear.bias.data();
    for (const RowRange& range : order.ranges) {
      copy_elements(bias, range.first, range.count, out);
      out += range.count;
    }
  }
  const std::string packed = part.prefix + "@" + order.name;
  if (find_packed(packed, rows, part.in_features, type, linear.weight)) return linear;
  const Source from = source(part);
  std::vector<kernels::StoredMatrix> matrices;
  for (const RowRange& range : order.ranges) matrices.push_back(rows_of(from.matrix, range));
  linear.weight = pack(packed, matrices, type);
  return linear;
}

Linear WeightReader::gated(const LinearPart& both, kernels::ComputeType type) const {
  REELM_CHECK(both.out_features % 2 == 0);
  const std::string packed = both.prefix + "*";
  Linear linear;
  if (find_packed(packed, both.out_features, both.in_features, type, linear.weight)) return linear;
  const Source from = source(both);
  const std::int64_t half = both.out_features / 2;
  linear.weight = pack(
      packed,
      kernels::gated_parts(rows_of(from.matrix, {0, half}), rows_of(from.matrix, {half, half})),
      type);
  return linear;
}

Linear WeightReader::gated(const LinearPart& gate, const LinearPart& up, bool has_bias,
                           kernels::ComputeType type) const {
  const LinearPart both[] = {gate, up};
  const std::string packed = packed_name(both, "*");
  Linear linear;
  if (has_bias) {
    linear.bias =
        AlignedBuffer<float>(static_cast<std::size_t>(gate.out_features + up.out_features));
    // Before that of `up`: its fault is told first.
    const kernels::StoredMatrix first = matrix(gate.prefix + ".bias", {gate.out_features});
    float* out = linear.bias.data();
    for (const kernels::StoredMatrix& rows :
         kernels::gated_parts(first, matrix(up.prefix + ".bias", {up.out_features}))) {
      copy_elements(rows, 0, rows.rows, out);
      out += rows.rows;
    }
  }
  if (find_packed(packed, gate.out_features + up.out_features, gate.in_features, type,
                  linear.weight)) {
    return linear;
  }
  const Source first = source(gate);  // before `up`, as above
  const Source second = source(up);
  linear.weight = pack(packed, kernels::gated_parts(first.matrix, second.matrix), type);
  return linear;
}

void copy_elements(const kernels::StoredMatrix& matrix, std::int64_t offset, std::int64_t n,
                   float* out) {
  const auto* bytes =
      static_cast<const std::byte*>(matrix.data) + dtype_bytes(matrix.dtype, offset);
  switch (matrix.dtype) {
    case DType::kF32:
      std::memcpy(out, bytes, static_cast<std::size_t>(n) * sizeof(float));
      return;
    case DType::kBF16:
      kernels::convert(reinterpret_cast<const bf16_t*>(bytes), out, n);
      return;
    case DType::kF16:
      kernels::convert(reinterpret_cast<const f16_t*>(bytes), out, n);
      return;
    default:  // Checkpoint::get hands out floats and quantised types only
      kernels::dequantize(matrix.dtype, bytes, out, n);
  }
}

}  // namespace reelm::layers
