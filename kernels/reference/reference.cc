#include "kernels/reference/reference.h"

#include <Eigen/Core>
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "../simd/table.h"

namespace reelm::kernels::reference {

namespace {

using Row = Eigen::Map<const Eigen::ArrayXf>;
using MutableRow = Eigen::Map<Eigen::ArrayXf>;

double activated(double v, Activation activation) {
  switch (activation) {
    case Activation::kNone:
      return v;
    case Activation::kQuickGelu:
      return v / (1.0 + std::exp(-1.702 * v));
    case Activation::kGelu:
      return 0.5 * v * (1.0 + std::erf(v / std::sqrt(2.0)));
    case Activation::kSilu:
      return v / (1.0 + std::exp(-v));
    case Activation::kGeluTanh:
      return 0.5 * v * (1.0 + std::tanh(std::sqrt(2.0 / M_PI) * (v + 0.044715 * v * v * v)));
  }
  return v;
}

// Element i of stored data, which may be unaligned.
float stored_value(const StoredMatrix& w, std::int64_t i) {
  const char* p =
      static_cast<const char*>(w.data) + i * static_cast<std::int64_t>(dtype_size(w.dtype));
  if (w.dtype == DType::kF32) {
    float v;
    std::memcpy(&v, p, sizeof(v));
    return v;
  }
  std::uint16_t bits;
  std::memcpy(&bits, p, sizeof(bits));
  return w.dtype == DType::kBF16 ? to_float(bf16_t{bits}) : to_float(f16_t{bits});
}

float rounded(float v, ComputeType type) {
  return type == ComputeType::kBF16 ? to_float(to_bf16(v)) : v;
}

float value_of(float v) { return v; }
float value_of(bf16_t v) { return to_float(v); }

// One query row against the first n keys.
template <typename T>
void attend(const float* q, TensorView<const T> k, TensorView<const T> v, std::int64_t kv_head,
            std::int64_t n, float scale, float* out) {
  const std::int64_t d = k.size(2);
  std::vector<double> weights(static_cast<std::size_t>(std::max<std::int64_t>(n, 0)));
  std::vector<double> sums(static_cast<std::size_t>(d), 0.0);
  double top = -std::numeric_limits<double>::infinity(), total = 0.0;
  for (std::int64_t j = 0; j < n; ++j) {
    const T* key = k.row(j) + kv_head * k.stride(1);
    double dot = 0.0;
    for (std::int64_t i = 0; i < d; ++i) dot += static_cast<double>(q[i]) * value_of(key[i]);
    weights[static_cast<std::size_t>(j)] = dot * scale;
    top = std::max(top, dot * scale);
  }
  for (double& w : weights) total += w = std::exp(w - top);
  for (std::int64_t j = 0; j < n; ++j) {
    const T* value = v.row(j) + kv_head * v.stride(1);
    for (std::int64_t i = 0; i < d; ++i) {
      sums[static_cast<std::size_t>(i)] +=
          weights[static_cast<std::size_t>(j)] * value_of(value[i]);
    }
  }
  for (std::int64_t i = 0; i < d; ++i) {
    out[i] = n > 0 ? static_cast<float>(sums[static_cast<std::size_t>(i)] / total) : 0.0f;
  }
}

template <typename T>
void attend_all(TensorView<const float> q, TensorView<const T> k, TensorView<const T> v,
                TensorView<float> out, float scale, bool causal) {
  const std::int64_t group = q.size(1) / k.size(1);
  for (std::int64_t i = 0; i < q.size(0); ++i) {
    const std::int64_t n = causal ? k.size(0) - q.size(0) + i + 1 : k.size(0);
    for (std::int64_t h = 0; h < q.size(1); ++h) {
      attend(q.row(i) + h * q.stride(1), k, v, h / group, n, scale, out.row(i) + h * out.stride(1));
    }
  }
}

std::vector<float> dequantized(const Int8Heads& x) {
  std::vector<float> out;
  for (std::int64_t j = 0; j < x.values.size(0); ++j) {
    for (std::int64_t h = 0; h < x.values.size(1); ++h) {
      const std::int8_t* row = x.values.row(j) + h * x.values.stride(1);
      const float scale = x.scales.row(j)[h * x.scales.stride(1)];
      for (std::int64_t i = 0; i < x.values.size(2); ++i) out.push_back(scale * row[i]);
    }
  }
  return out;
}

template <typename T>
TensorView<T> slice(TensorView<T> x, std::int64_t begin, std::int64_t end) {
  return TensorView<T>(x.row(begin), {end - begin, x.size(1), x.size(2)},
                       {x.stride(0), x.stride(1), x.stride(2)});
}

void add_rows(TensorView<float> residual, TensorView<const float> delta) {
  for (std::int64_t i = 0; i < residual.size(0); ++i) {
    MutableRow(residual.row(i), residual.size(1)) += Row(delta.row(i), delta.size(1));
  }
}

}  // namespace

void rms_norm(TensorView<const float> x, const float* weight, float eps, TensorView<float> y) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    const Eigen::ArrayXd row = Row(x.row(i), x.size(1)).cast<double>();
    const Eigen::ArrayXd w = Row(weight, x.size(1)).cast<double>();
    MutableRow(y.row(i), x.size(1)) =
        (row / std::sqrt(row.square().mean() + eps) * w).cast<float>();
  }
}

void add_rms_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                  float eps, TensorView<float> y) {
  add_rows(residual, delta);
  rms_norm(residual, weight, eps, y);
}

void layer_norm(TensorView<const float> x, const float* weight, const float* bias, float eps,
                TensorView<float> y) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    const Eigen::ArrayXd row = Row(x.row(i), x.size(1)).cast<double>();
    const Eigen::ArrayXd centred = row - row.mean();
    const Eigen::ArrayXd w = Row(weight, x.size(1)).cast<double>();
    const Eigen::ArrayXd b = Row(bias, x.size(1)).cast<double>();
    MutableRow(y.row(i), x.size(1)) =
        (centred / std::sqrt(centred.square().mean() + eps) * w + b).cast<float>();
  }
}

void add_layer_norm(TensorView<float> residual, TensorView<const float> delta, const float* weight,
                    const float* bias, float eps, TensorView<float> y) {
  add_rows(residual, delta);
  layer_norm(residual, weight, bias, eps, y);
}

void rotary(TensorView<float> x, TensorView<const float> cos, TensorView<const float> sin) {
  const std::int64_t half = x.size(2) / 2;
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    for (std::int64_t h = 0; h < x.size(1); ++h) {
      float* row = x.row(i) + h * x.stride(1);
      for (std::int64_t j = 0; j < half; ++j) {
        const double c = cos.row(i)[j], s = sin.row(i)[j], u = row[j], v = row[half + j];
        row[j] = static_cast<float>(u * c - v * s);
        row[half + j] = static_cast<float>(v * c + u * s);
      }
    }
  }
}

void silu_mul(TensorView<const float> x, TensorView<float> y) {
  for (std::int64_t i = 0; i < y.size(0); ++i) {
    for (std::int64_t j = 0; j < y.size(1); ++j) {
      const double gate = activated(x.row(i)[j], Activation::kSilu);
      y.row(i)[j] = static_cast<float>(gate * x.row(i)[y.size(1) + j]);
    }
  }
}

void quick_gelu(TensorView<float> x) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    for (std::int64_t j = 0; j < x.size(1); ++j) {
      x.row(i)[j] = static_cast<float>(activated(x.row(i)[j], Activation::kQuickGelu));
    }
  }
}

void gelu(TensorView<float> x) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    for (std::int64_t j = 0; j < x.size(1); ++j) {
      x.row(i)[j] = static_cast<float>(activated(x.row(i)[j], Activation::kGelu));
    }
  }
}

void gelu_tanh(TensorView<float> x) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    for (std::int64_t j = 0; j < x.size(1); ++j) {
      x.row(i)[j] = static_cast<float>(activated(x.row(i)[j], Activation::kGeluTanh));
    }
  }
}

void convert(const float* from, bf16_t* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = to_bf16(from[i]);
}
void convert(const bf16_t* from, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = to_float(from[i]);
}
void convert(const f16_t* from, float* to, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) to[i] = to_float(from[i]);
}

void quantize_rows(TensorView<const float> x, TensorView<std::int8_t> y, float* scales) {
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    float largest = 0.0f;
    bool finite = true;
    for (std::int64_t j = 0; j < x.size(1); ++j) {
      finite = finite && std::isfinite(x.row(i)[j]);
      largest = std::max(largest, std::abs(x.row(i)[j]));
    }
    const bool usable = finite && largest >= 1e-30f;
    scales[i] = usable ? largest / 127.0f : finite ? 0.0f : std::numeric_limits<float>::quiet_NaN();
    for (std::int64_t j = 0; j < x.size(1); ++j) {
      // In floats, as the kernels do: the bits are to be the same.
      const float v = usable ? x.row(i)[j] * (127.0f / largest) : 0.0f;
      y.row(i)[j] = static_cast<std::int8_t>(std::nearbyint(v));
    }
  }
}

namespace {

/// y = activation(product + bias) [+ y].
void finish_product(const Eigen::MatrixXd& product, TensorView<float> y, const Epilogue& epilogue) {
  for (std::int64_t i = 0; i < product.rows(); ++i) {
    for (std::int64_t j = 0; j < product.cols(); ++j) {
      double v = product(i, j) + (epilogue.bias == nullptr ? 0.0 : epilogue.bias[j]);
      v = activated(v, epilogue.activation);
      if (epilogue.accumulate) v += y.row(i)[j];
      y.row(i)[j] = static_cast<float>(v);
    }
  }
}

double weight_of(const Int8Block& block, std::int64_t col, std::int64_t i) {
  return to_float(bf16_t{block.scale[col]}) * (block.q[i / 4][col][i % 4] - 128.0);
}

double weight_of(const Int4Block& block, std::int64_t col, std::int64_t i) {
  const std::int64_t sub = i / kQuantSub, within = i % kQuantSub;
  const bool high = within >= kQuantSub / 2;
  const std::int64_t at = high ? within - kQuantSub / 2 : within;
  const int both = block.q[sub][at / 4][col][at % 4];
  const int q = high ? both >> 4 : both & 15;
  return to_float(bf16_t{block.scale[col]}) *
         (block.step[sub][col] * q + block.base[sub][col] - 128.0);
}

double weight_of(const Q8_0Block& block, std::int64_t col, std::int64_t i) {
  return to_float(f16_t{block.scale[i / kQuantSub][col]}) * (block.q[i / 4][col][i % 4] - 128.0);
}

double weight_of(const Q4_0Block& block, std::int64_t col, std::int64_t i) {
  const std::int64_t sub = i / kQuantSub, at = i % (kQuantSub / 2);
  const int both = block.q[sub][at / 4][col][at % 4];
  const int q = i % kQuantSub >= kQuantSub / 2 ? both >> 4 : both & 15;
  return to_float(f16_t{block.scale[sub][col]}) * (q - 8.0);
}

template <typename Block>
std::vector<double> read_blocks(const PackedMatrix& w) {
  const std::int64_t n = w.out_features(), k = w.in_features();
  const std::int64_t groups = std::max<std::int64_t>(1, (k + kQuantGroup - 1) / kQuantGroup);
  std::vector<double> out;
  for (std::int64_t j = 0; j < n; ++j) {
    for (std::int64_t i = 0; i < k; ++i) {
      Block block;
      const auto index =
          static_cast<std::size_t>(j / kPanelCols * groups + i / kQuantGroup) * sizeof(Block);
      std::memcpy(&block, w.packed_bytes().subspan(index, sizeof(Block)).data(), sizeof(Block));
      out.push_back(weight_of(block, j % kPanelCols, i % kQuantGroup));
    }
  }
  return out;
}

}  // namespace

std::vector<double> dequantised(const PackedMatrix& w) {
  switch (w.type()) {
    case ComputeType::kInt8:
      return read_blocks<Int8Block>(w);
    case ComputeType::kInt4:
      return read_blocks<Int4Block>(w);
    case ComputeType::kQ8_0:
      return read_blocks<Q8_0Block>(w);
    case ComputeType::kQ4_0:
      return read_blocks<Q4_0Block>(w);
    default:
      break;
  }
  REELM_CHECK(!"a quantised type");
  return {};
}

void round_activations(std::span<const float> from, std::span<double> to) {
  float top = 0.0f;
  for (const float v : from) top = std::max(top, std::abs(v));
  const float inverse = top >= kSmallestQuantized ? 127.0f / top : 0.0f;
  for (std::size_t i = 0; i < from.size(); ++i) {
    to[i] = static_cast<double>(top / 127.0f) * std::nearbyint(from[i] * inverse);
  }
}

void matmul_quantised(TensorView<const float> x, const PackedMatrix& w, TensorView<float> y,
                      const Epilogue& epilogue) {
  const std::int64_t k = w.in_features(), n = w.out_features(), m = x.size(0);
  const std::vector<double> weights = dequantised(w);
  using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::Map<const RowMajor> wt(weights.data(), n, k);
  RowMajor a(m, k);
  const std::int64_t group = keeps_blocks(w.type()) ? kQuantSub : kQuantGroup;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t first = 0; first < k; first += group) {
      const auto count = static_cast<std::size_t>(std::min(group, k - first));
      round_activations({x.row(i) + first, count}, {&a(i, first), count});
    }
  }
  finish_product(a * wt.transpose(), y, epilogue);
}

void matmul(TensorView<const float> x, std::span<const StoredMatrix> parts, ComputeType type,
            TensorView<float> y, const Epilogue& epilogue) {
  std::int64_t n = 0;
  for (const StoredMatrix& part : parts) n += part.rows;
  const std::int64_t k = x.size(1);
  Eigen::MatrixXd w(k, n), a(x.size(0), k);
  std::int64_t column = 0;
  for (const StoredMatrix& part : parts) {
    for (std::int64_t r = 0; r < part.rows; ++r, ++column) {
      for (std::int64_t c = 0; c < k; ++c) {
        w(c, column) = rounded(stored_value(part, r * part.cols + c), type);
      }
    }
  }
  for (std::int64_t i = 0; i < x.size(0); ++i) {
    for (std::int64_t c = 0; c < k; ++c) a(i, c) = rounded(x.row(i)[c], type);
  }
  finish_product(a * w, y, epilogue);
}

void attention(TensorView<const float> q, TensorView<const float> k, TensorView<const float> v,
               TensorView<float> out, float scale, bool causal) {
  attend_all(q, k, v, out, scale, causal);
}

void attention(TensorView<const float> q, TensorView<const bf16_t> k, TensorView<const bf16_t> v,
               TensorView<float> out, float scale, bool causal) {
  attend_all(q, k, v, out, scale, causal);
}

void attention(TensorView<const float> q, const Int8Heads& k, const Int8Heads& v,
               TensorView<float> out, float scale, bool causal) {
  const std::vector<float> keys = dequantized(k), values = dequantized(v);
  const auto view = [&](const std::vector<float>& x) {
    return TensorView<const float>(x.data(),
                                   {k.values.size(0), k.values.size(1), k.values.size(2)});
  };
  attend_all(q, view(keys), view(values), out, scale, causal);
}

void attention_forward_varlen(TensorView<const float> q, TensorView<const float> k,
                              TensorView<const float> v, TensorView<float> out,
                              std::span<const std::int64_t> cu_seqlens_q,
                              std::span<const std::int64_t> cu_seqlens_k, float scale,
                              bool causal) {
  for (std::size_t s = 0; s + 1 < cu_seqlens_q.size(); ++s) {
    const auto of_q = [&](auto x) { return slice(x, cu_seqlens_q[s], cu_seqlens_q[s + 1]); };
    const auto of_k = [&](auto x) { return slice(x, cu_seqlens_k[s], cu_seqlens_k[s + 1]); };
    attend_all(of_q(q), of_k(k), of_k(v), of_q(out), scale, causal);
  }
}

}  // namespace reelm::kernels::reference
