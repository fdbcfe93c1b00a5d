#include "pipeline/packed_file.h"

#include <algorithm>
#include <vector>

#include "core/aligned_buffer.h"
#include "core/parallel.h"
#include "core/tensor_hash.h"
#include "core/throw.h"
#include "kernels/dequantize.h"

namespace reelm::pipeline {

std::string metadata_value(const SafetensorsFile& file, const char* key) {
  const auto it = file.metadata().find(key);
  return it == file.metadata().end() ? "" : it->second;
}

std::map<std::string, std::string> packed_metadata(const std::string& model_type,
                                                   const ModelDtypes& dtypes) {
  return {{kKeyFormat, kPackedFormat},
          {kKeyLayout, std::to_string(kernels::kPackedLayoutVersion)},
          {kKeyModelType, model_type},
          {kKeyDtype, dtype_name(dtypes.decoder)},
          {kKeyVisionDtype, dtype_name(dtypes.vision)}};
}

bool is_packed_file(const SafetensorsFile& file) {
  return metadata_value(file, kKeyFormat) == kPackedFormat;
}

void check_packed_file(const SafetensorsFile& file, const CancelToken* cancel) {
  std::string found;
  try {
    found = hash_string(hash_tensors(file.tensors(), cancel));
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled) throw;
    throw_error(error.code(), "{}: {}", file.path().string(), error.what());
  }
  const std::string expected = metadata_value(file, kKeyChecksum);
  if (found != expected || !file.other_tensors().empty()) {
    throw_error(ErrorCode::kFormat, "{}: damaged: the checksum of its weights is {}, expected {}",
                file.path().string(), found, expected.empty() ? "one in the header" : expected);
  }
}

namespace {

/// The tensor in a type that safetensors files have: quantised ones as BF16, in `floats`.
StoredTensor plain_tensor(StoredTensor tensor, std::vector<AlignedBuffer<bf16_t>>& floats) {
  if (!is_quantized(tensor.dtype)) return tensor;
  const std::int64_t n = element_count(tensor.shape), cols = tensor.shape.back();
  auto& out = floats.emplace_back(static_cast<std::size_t>(n));
  parallel_for(n / cols, 16, [&](std::int64_t begin, std::int64_t end) {
    std::vector<float> row(static_cast<std::size_t>(cols));
    for (std::int64_t i = begin; i < end; ++i) {
      kernels::dequantize(tensor.dtype, tensor.bytes.data() + dtype_bytes(tensor.dtype, i * cols),
                          row.data(), cols);
      std::transform(row.begin(), row.end(), out.data() + i * cols, to_bf16);
    }
  });
  tensor.dtype = DType::kBF16;
  tensor.bytes = std::as_bytes(std::span(out.data(), out.size()));
  return tensor;
}

}  // namespace

void write_packed_file(const std::filesystem::path& path, const layers::WeightLog& log,
                       const Checkpoint* checkpoint, std::map<std::string, std::string> metadata,
                       SafetensorsWriteOptions options) {
  std::vector<StoredTensor> tensors;
  std::vector<AlignedBuffer<bf16_t>> floats;
  for (const layers::WeightLog::Packed& packed : log.packed) {
    const auto bytes = packed.weight.packed_bytes();
    REELM_CHECK(bytes.size() % 64 == 0);  // so that the next one is aligned too
    tensors.push_back({packed.name, DType::kU8, {std::ssize(bytes)}, bytes});
  }
  if (checkpoint != nullptr) {
    std::vector<std::string> names = log.stored;
    std::sort(names.begin(), names.end());
    names.erase(std::unique(names.begin(), names.end()), names.end());
    for (const std::string& name : names) {
      tensors.push_back(plain_tensor(*checkpoint->find(name), floats));
    }
  }
  const auto by_name = [](const StoredTensor& a, const StoredTensor& b) { return a.name < b.name; };
  std::sort(tensors.begin(), tensors.end(), by_name);
  metadata[kKeyChecksum] = hash_string(hash_tensors(tensors, options.cancel));
  // Packed ones first; of the others, wide ones first, so that they are aligned to their size.
  const auto rank = [](const StoredTensor& t) {
    return t.dtype == DType::kU8 ? 0 : t.dtype == DType::kF32 ? 1 : 2;
  };
  std::stable_sort(tensors.begin(), tensors.end(),
                   [&](const auto& a, const auto& b) { return rank(a) < rank(b); });
  options.alignment = 64;
  options.keep_order = true;
  write_safetensors(path, tensors, metadata, options);
}

std::int64_t packed_bytes(const layers::WeightLog& log) {
  std::int64_t total = 0;
  for (const auto& packed : log.packed) {
    total += static_cast<std::int64_t>(packed.weight.size_bytes());
  }
  return total;
}

}  // namespace reelm::pipeline
