// Owning storage for activations, caches and packed weights.
#pragma once

#include <cstddef>
#include <type_traits>
#include <utility>

namespace reelm {

namespace internal {
/// 64-byte aligned bytes; at 4 MiB and more on 2 MiB pages where the kernel grants them.
/// Throws Error{kOutOfMemory} with the size. n == 0 gives nullptr.
void* allocate_aligned(std::size_t n_bytes);
void free_aligned(void* p) noexcept;
}  // namespace internal

/// A fixed number of trivially copyable elements, 64-byte aligned, NOT initialised.
template <typename T>
class AlignedBuffer {
  static_assert(std::is_trivially_copyable_v<T>);

 public:
  AlignedBuffer() = default;
  /// `size` elements. Throws Error{kOutOfMemory}.
  explicit AlignedBuffer(std::size_t size) : size_(size) {
    if (size > static_cast<std::size_t>(-1) / 2 / sizeof(T))
      size = static_cast<std::size_t>(-1) / 2 / sizeof(T);
    data_ = static_cast<T*>(internal::allocate_aligned(size * sizeof(T)));
  }
  AlignedBuffer(AlignedBuffer&& other) noexcept
      : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
  AlignedBuffer& operator=(AlignedBuffer&& other) noexcept {
    std::swap(data_, other.data_);
    std::swap(size_, other.size_);
    return *this;
  }
  AlignedBuffer(const AlignedBuffer&) = delete;
  AlignedBuffer& operator=(const AlignedBuffer&) = delete;
  ~AlignedBuffer() { internal::free_aligned(data_); }

  T* data() noexcept { return data_; }
  const T* data() const noexcept { return data_; }
  std::size_t size() const noexcept { return size_; }
  std::size_t size_bytes() const noexcept { return size_ * sizeof(T); }
  T& operator[](std::size_t i) noexcept { return data_[i]; }
  const T& operator[](std::size_t i) const noexcept { return data_[i]; }
  T* begin() noexcept { return data_; }
  T* end() noexcept { return data_ + size_; }
  const T* begin() const noexcept { return data_; }
  const T* end() const noexcept { return data_ + size_; }

  /// Makes room for at least `size` elements; contents are lost when it has to grow.
  void reserve(std::size_t size) {
    if (size > size_) *this = AlignedBuffer(size);
  }

 private:
  T* data_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace reelm
