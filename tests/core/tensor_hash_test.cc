#include "core/tensor_hash.h"

#include <gtest/gtest.h>

#include <vector>

#include "core/parallel.h"

namespace reelm {
namespace {

StoredTensor tensor(const std::string& name, const std::vector<std::byte>& bytes) {
  return {name, DType::kU8, {std::ssize(bytes)}, bytes};
}

TEST(TensorHash, KnownValuesOfXxh3) {
  EXPECT_EQ(hash_bytes({}), 0x2d06800538d394c2u);
  EXPECT_EQ(hash_string(0xab), "00000000000000ab");
}

TEST(TensorHash, EveryByteNameAndShapeCounts) {
  std::vector<std::byte> bytes((std::size_t{4} << 20) + 3);  // two pieces
  const std::uint64_t expected = hash_tensors(std::vector{tensor("a", bytes)});
  EXPECT_EQ(hash_tensors(std::vector{tensor("a", bytes)}), expected);
  EXPECT_NE(hash_tensors(std::vector{tensor("b", bytes)}), expected);
  EXPECT_NE(hash_tensors(std::vector{tensor("a", bytes), tensor("b", {})}), expected);
  StoredTensor other = tensor("a", bytes);
  other.shape = {1, std::ssize(bytes)};
  EXPECT_NE(hash_tensors(std::span(&other, 1)), expected);
  for (const std::size_t at : {std::size_t{0}, std::size_t{4} << 20, bytes.size() - 1}) {
    bytes[at] = std::byte{1};
    EXPECT_NE(hash_tensors(std::vector{tensor("a", bytes)}), expected) << at;
    bytes[at] = std::byte{0};
  }
}

TEST(TensorHash, IsTheSameForAnyNumberOfThreads) {
  std::vector<std::byte> bytes(std::size_t{20} << 20);
  for (std::size_t i = 0; i < bytes.size(); i += 4096) bytes[i] = static_cast<std::byte>(i >> 12);
  const std::vector<StoredTensor> tensors = {tensor("a", bytes), tensor("b", bytes)};
  const std::uint64_t expected = hash_tensors(tensors);
  for (const int threads : {1, 3, 7}) {
    set_num_threads(threads);
    EXPECT_EQ(hash_tensors(tensors), expected) << threads;
  }
  set_num_threads(0);
}

TEST(TensorHash, CanBeCancelled) {
  const std::vector<std::byte> bytes(100);
  CancelToken cancelled;
  cancelled.cancel();
  EXPECT_THROW((void)hash_tensors(std::vector{tensor("a", bytes)}, &cancelled), Error);
}

}  // namespace
}  // namespace reelm
