// The loading of weights: from a checkpoint as stored, packed on the way; or packed before, from a
// cache or a converted checkpoint.
#pragma once

#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "../core/cancel.h"
#include "../core/checkpoint.h"
#include "linear.h"
#include "lora.h"

namespace reelm::layers {

/// One part of a (stacked) linear layer: "<prefix>.weight" [out_features, in_features] and, where
/// `has_bias`, "<prefix>.bias" [out_features].
struct LinearPart {
  std::string prefix;
  std::int64_t out_features;
  std::int64_t in_features;
};

/// Rows of a matrix as they stand one behind the other.
struct RowRange {
  std::int64_t first;
  std::int64_t count;
};

/// A layer's outputs in another order than the checkpoint's: all its rows, each once. `name`
/// becomes a part of the packed weight's name, so that no other order is taken for it.
struct RowOrder {
  const char* name;
  std::vector<RowRange> ranges;
};

/// What a model's weights were made from; for writing them down (reelm convert, the cache).
struct WeightLog {
  /// A weight as kernels want it, under the name that WeightReader looks for.
  struct Packed {
    std::string name;
    kernels::PackedMatrix weight;
    bool from_file;  ///< was packed before: found, not made
  };
  std::vector<Packed> packed;
  std::vector<std::string> stored;  ///< names of tensors that were read as the checkpoint has them
};

/// Reads weights by name. A packed weight is looked for as a U8 tensor
/// "<first prefix>+<last names of the other prefixes>.<type>", for example
/// "model.layers.0.self_attn.q_proj+k_proj+v_proj.int8", in `packed` (a cache; may be null), then
/// in the checkpoint (a converted one); where neither has it, its parts are packed. `cancel` (may
/// be null) is polled before each weight: what reads one throws Error{kCancelled} too. `adapters`
/// (may be null; they outlive the reader) are merged into what is packed, so nothing should be
/// found packed; one that updates what is read as stored is an Error{kUnsupported}.
///
/// A weight wanted as kQ8_0 or kQ4_0 is packed as whichever of them all its parts are stored in, or
/// as int8: files of these types mix them, and others.
class WeightReader {
 public:
  explicit WeightReader(std::shared_ptr<const Checkpoint> checkpoint,
                        std::shared_ptr<const SafetensorsFile> packed = nullptr,
                        WeightLog* log = nullptr, const CancelToken* cancel = nullptr,
                        const std::vector<LoraAdapter>* adapters = nullptr)
      : checkpoint_(std::move(checkpoint)),
        packed_(std::move(packed)),
        log_(log),
        cancel_(cancel),
        adapters_(adapters) {}

  const std::shared_ptr<const Checkpoint>& checkpoint() const noexcept { return checkpoint_; }
  /// Whether the checkpoint has the tensor as stored, or packed as a part of some type.
  bool has(const std::string& name) const;

  /// The parts stacked by rows. Throws Error naming file, tensor, found and expected when a tensor
  /// is missing or misshapen.
  Linear linear(std::span<const LinearPart> parts, bool has_bias, kernels::ComputeType type) const;
  Linear linear(const LinearPart& part, bool has_bias, kernels::ComputeType type) const {
    return linear(std::span(&part, 1), has_bias, type);
  }

  /// One layer, its rows and its bias in another order; packed under "<prefix>@<order>.<type>".
  /// Throws as the other.
  Linear linear(const LinearPart& part, const RowOrder& order, bool has_bias,
                kernels::ComputeType type) const;

  /// The projections of a gated MLP side by side (kernels::gated_parts), biases in the same order;
  /// packed under "<gate>*<last name of up>.<type>". Throws as the other.
  Linear gated(const LinearPart& gate, const LinearPart& up, bool has_bias,
               kernels::ComputeType type) const;

  /// The same of one tensor [2 * intermediate_size, hidden_size], the gate before up; packed under
  /// "<prefix>*.<type>". Throws as linear().
  Linear gated(const LinearPart& both, kernels::ComputeType type) const;

  /// The tensor `name` as a weight of shape[0] output features; of higher rank it is flattened
  /// behind its first size (Conv3d weights, embeddings that serve as the head). Packed as `name`
  /// without ".weight". Throws as linear().
  kernels::PackedMatrix weight(const std::string& name, std::initializer_list<std::int64_t> shape,
                               kernels::ComputeType type) const;

  /// A stored matrix by view, not copied, flattened as weight(); alive as long as the checkpoint.
  /// Throws as linear().
  kernels::StoredMatrix matrix(const std::string& name,
                               std::initializer_list<std::int64_t> shape) const;

  /// A tensor of any float or quantised type as f32 [numel]. Throws as linear().
  AlignedBuffer<float> vector(const std::string& name, std::int64_t size) const;

 private:
  /// As matrix(), but not noted as read as stored: it is to be packed.
  kernels::StoredMatrix stored(const std::string& name,
                               std::initializer_list<std::int64_t> shape) const;
  /// A matrix to be packed: as stored, or with what the adapters add.
  struct Source {
    kernels::StoredMatrix matrix;
    AlignedBuffer<float> merged;  // what `matrix` views, unless empty
  };
  Source source(const std::string& name, std::initializer_list<std::int64_t> shape) const;
  Source source(const LinearPart& part) const;
  /// The weight packed before under `name` and its type, if there is one.
  bool find_packed(const std::string& name, std::int64_t out_features, std::int64_t in_features,
                   kernels::ComputeType wanted, kernels::PackedMatrix& out) const;
  bool find_packed_as(const std::string& name, std::int64_t out_features, std::int64_t in_features,
                      kernels::ComputeType type, kernels::PackedMatrix& out) const;
  /// Packs to the type, or to what the parts are stored in where it keeps that; noted.
  kernels::PackedMatrix pack(const std::string& name, std::span<const kernels::StoredMatrix> parts,
                             kernels::ComputeType type) const;
  void note(const std::string& name, const kernels::PackedMatrix& weight, bool from_file) const;

  std::shared_ptr<const Checkpoint> checkpoint_;
  std::shared_ptr<const SafetensorsFile> packed_;
  WeightLog* log_;
  const CancelToken* cancel_;
  const std::vector<LoraAdapter>* adapters_;
};

/// Copies elements `offset` .. `offset + n` of a stored matrix into f32; of a quantised one, both
/// are multiples of the block (whole rows are).
void copy_elements(const kernels::StoredMatrix& matrix, std::int64_t offset, std::int64_t n,
                   float* out);

}  // namespace reelm::layers
