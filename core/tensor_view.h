// A pointer with up to four sizes and strides. Never owns.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <initializer_list>

#include "error.h"

namespace reelm {

/// View of a tensor of rank 1 to 4; sizes and strides in elements. The storage outlives the view.
template <typename T>
class TensorView {
 public:
  TensorView() = default;

  /// Dense row-major view of `data` with these sizes.
  TensorView(T* data, std::initializer_list<std::int64_t> sizes) : data_(data) {
    REELM_CHECK(sizes.size() >= 1 && sizes.size() <= 4);
    for (const std::int64_t size : sizes) sizes_[rank_++] = size;
    std::int64_t stride = 1;
    for (int d = rank_ - 1; d >= 0; --d) {
      strides_[d] = stride;
      stride *= sizes_[d];
    }
  }

  /// Strided view, for rows inside a wider matrix.
  TensorView(T* data, std::initializer_list<std::int64_t> sizes,
             std::initializer_list<std::int64_t> strides)
      : TensorView(data, sizes) {
    REELM_CHECK(strides.size() == sizes.size());
    int d = 0;
    for (const std::int64_t stride : strides) strides_[d++] = stride;
  }

  /// TensorView<T> reads as TensorView<const T>.
  operator TensorView<const T>() const {
    TensorView<const T> out;
    out.assign(data_, rank_, sizes_, strides_);
    return out;
  }

  T* data() const noexcept { return data_; }
  int rank() const noexcept { return rank_; }
  std::int64_t size(int d) const noexcept { return sizes_[d]; }
  std::int64_t stride(int d) const noexcept { return strides_[d]; }
  std::int64_t numel() const noexcept {
    std::int64_t n = rank_ == 0 ? 0 : 1;
    for (int d = 0; d < rank_; ++d) n *= sizes_[d];
    return n;
  }
  bool empty() const noexcept { return numel() == 0; }

  /// Pointer to row i (the first index) of the view.
  T* row(std::int64_t i) const noexcept { return data_ + i * strides_[0]; }

  void assign(T* data, int rank, const std::array<std::int64_t, 4>& sizes,
              const std::array<std::int64_t, 4>& strides) {
    data_ = data;
    rank_ = rank;
    sizes_ = sizes;
    strides_ = strides;
  }

 private:
  T* data_ = nullptr;
  int rank_ = 0;
  std::array<std::int64_t, 4> sizes_{};
  std::array<std::int64_t, 4> strides_{};
};

}  // namespace reelm
