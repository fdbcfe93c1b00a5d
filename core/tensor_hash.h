// XXH3 (64 bits, https://xxhash.com) of bytes and tensors: tells damage and change, proves nothing
// against an attacker.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "cancel.h"
#include "safetensors.h"

namespace reelm {

/// XXH3_64bits of the bytes.
std::uint64_t hash_bytes(std::span<const std::byte> bytes) noexcept;

/// A hash of names, dtypes, shapes and bytes, in the order given. Bytes are hashed in pieces of 4
/// MB by all threads, which also brings the pages of a mapped file into memory: 4 GB in the page
/// cache take 0.2 to 0.35 s on two busy cores of Zen 3. Throws Error{kIo} naming the tensor when
/// its file became shorter or cannot be read; {kCancelled} (`cancel` may be null, polled every 4
/// MB).
std::uint64_t hash_tensors(std::span<const StoredTensor> tensors,
                           const CancelToken* cancel = nullptr);

/// 16 hexadecimal digits.
std::string hash_string(std::uint64_t hash);

}  // namespace reelm
