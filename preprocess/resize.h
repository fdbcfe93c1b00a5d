// Antialiased bicubic resize of RGB8, byte for byte as the references do it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "../core/tensor_view.h"
#include "sampling.h"

namespace reelm::preprocess {

/// Three resamplers with one filter (Keys' cubic, a = -0.5, stretched when shrinking) and three
/// arithmetics. They go horizontally first, then vertically; kPil may turn that round.
enum class ResizeMode {
  /// torchvision.transforms.functional.resize of a uint8 tensor, as qwen-vl-utils calls it: cast to
  /// float32, both passes in float32 (fused multiply-add), clamped and rounded half to even once.
  kTorchFloat,
  /// torchvision.transforms.v2.functional.resize of a uint8 tensor, as transformers calls it:
  /// torch's
  /// native uint8 path, 16-bit weights, rounded to uint8 after each pass.
  kTorchUint8,
  /// PIL.Image.resize (Pillow 13): 22-bit weights, rounded to uint8 after each pass; vertically
  /// first
  /// where the height shrinks by more than twice as many pixels as the width.
  kPil,
};

/// Instruction sets the resize and the patchify loops are built for, in rising order.
enum class VectorIsa { kPortable, kAvx2, kAvx512 };

/// "portable", "avx2", "avx512".
std::string_view vector_isa_name(VectorIsa isa) noexcept;
/// The sets this machine can run, in rising order. Never empty.
std::span<const VectorIsa> supported_vector_isas() noexcept;
/// The last of supported_vector_isas(), or what REELM_ISA (the variable kernels/isa.h reads:
/// portable, avx2, avx512, avx512bf16, amx) allows. Read once. Throws Error{kInvalidArgument} when
/// it names an unknown set or one this machine lacks.
VectorIsa active_vector_isa();

/// A resampler for one pair of sizes: weights are computed once, the workspace is reused.
class Resizer {
 public:
  /// Throws Error: kInvalidArgument (a side < 1), kOutOfMemory.
  Resizer(Size source, Size target, ResizeMode mode);
  Resizer(Size source, Size target, ResizeMode mode, VectorIsa isa);
  Resizer(Resizer&&) noexcept;
  Resizer& operator=(Resizer&&) noexcept;
  ~Resizer();

  /// `source` [H, W, 3], rows may be padded, to `target` [h, w, 3], dense. Equal sizes copy. Runs
  /// on the threads of core/parallel.h; the bytes do not depend on their number nor on the
  /// instruction set.
  void run(TensorView<const std::uint8_t> source, TensorView<std::uint8_t> target);

  Size source() const noexcept;
  Size target() const noexcept;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace reelm::preprocess
