#include "bench/ladder/rungs.h"

#include <array>
#include <utility>
#include <vector>

#include "bench/ladder/decoder.h"
#include "bench/ladder/encoder.h"
#include "core/throw.h"
#include "layers/weight_reader.h"
#include "llm/qwen2/decoder.h"
#include "vision/qwen2_vl/encoder.h"

namespace reelm::bench {

namespace {

using pipeline::compute_type;
using pipeline::Dtype;

struct RungName {
  const char* name;
  bool Switches::*adds;  // null: no switch
};
constexpr std::array<RungName, kRungs> kNames = {{
    {"plain", nullptr},
    {"flash attention in the decoder", &Switches::flash_prompt},
    {"cos/sin once, fused rotary", &Switches::rotary_once},
    {"fused add and norm", &Switches::fused_add_norm},
    {"last-position logits", &Switches::last_logits},
    {"flash attention in the ViT", &Switches::vision_flash},
    {"fixed KV cache, in place", &Switches::fixed_cache},
    {"incremental attention", &Switches::incremental_attention},
    {"planned workspaces", nullptr},
    {"int8 weights", nullptr},
}};

class SwitchedRung final : public RungModel {
 public:
  SwitchedRung(SwitchedEncoder encoder, std::unique_ptr<SwitchedDecoder> decoder)
      : encoder_(std::move(encoder)), decoder_(std::move(decoder)) {}

  void encode(const PatchBatch& patches, TensorView<float> out) override {
    encoder_.encode(patches, out);
  }
  void prefill(const llm::PromptInput& input, TensorView<float> logits) override {
    decoder_->prefill(input, logits);
  }
  void step(llm::TokenId token, std::int64_t position, TensorView<float> logits) override {
    decoder_->step(token, position, logits);
  }
  RungCounters counters() const override { return {encoder_.counters(), decoder_->counters()}; }

 private:
  SwitchedEncoder encoder_;
  std::unique_ptr<SwitchedDecoder> decoder_;
};

class ShippedRung final : public RungModel {
 public:
  ShippedRung(vision::VisionEncoder& encoder, llm::Decoder& decoder, std::int64_t capacity)
      : encoder_(encoder),
        decoder_(decoder),
        cache_(decoder.kv_shape(), decoder.kv_type(), capacity) {}

  /// Slice by slice, as the pipeline does.
  void encode(const PatchBatch& patches, TensorView<float> out) override {
    const auto [t, h, w] = patches.grid_thw;
    const std::int64_t rows = out.size(0) / t;
    for (std::int64_t i = 0; i < t; ++i) {
      const TensorView<const float> pixels(patches.pixels.row(i * h * w),
                                           {h * w, patches.pixels.size(1)});
      encoder_.encode({pixels, {1, h, w}}, {out.row(i * rows), {rows, out.size(1)}}, nullptr);
    }
  }
  void prefill(const llm::PromptInput& input, TensorView<float> logits) override {
    cache_.truncate(0);
    decoder_.prefill(input, cache_, logits, nullptr);
  }
  void step(llm::TokenId token, std::int64_t position, TensorView<float> logits) override {
    decoder_.step(token, position, cache_, logits);
  }

 private:
  vision::VisionEncoder& encoder_;
  llm::Decoder& decoder_;
  llm::KvCache cache_;
};

/// The tensors of `original` and the weights packed from them, so that those are found and not
/// packed again.
std::shared_ptr<const Checkpoint> with_packed(std::shared_ptr<const Checkpoint> original,
                                              layers::WeightLog log, const std::string& name) {
  struct Owner {
    std::shared_ptr<const Checkpoint> original;
    layers::WeightLog log;
  };
  auto owner = std::make_shared<const Owner>(Owner{std::move(original), std::move(log)});
  std::vector<StoredTensor> tensors = owner->original->tensors();
  for (const layers::WeightLog::Packed& packed : owner->log.packed) {
    const auto bytes = packed.weight.packed_bytes();
    tensors.push_back({packed.name, DType::kU8, {std::ssize(bytes)}, bytes});
  }
  return std::make_shared<const Checkpoint>(
      Checkpoint::from_tensors(std::move(tensors), owner, name));
}

const vision::qwen2_vl::VisionConfig& vision_config_of(const pipeline::Model& model,
                                                       const pipeline::SyntheticSizes& sizes) {
  const auto* config = std::get_if<vision::qwen2_vl::VisionConfig>(&sizes.vision);
  if (config == nullptr) {
    throw_error(ErrorCode::kInvalidArgument, "{}: model_type is '{}', --ladder expects qwen2_vl",
                model.directory.string(), model.model_type);
  }
  return *config;
}

}  // namespace

const char* rung_name(int rung) { return kNames.at(static_cast<std::size_t>(rung)).name; }

Switches rung_switches(int rung) {
  REELM_CHECK(rung < kShippedRung);
  Switches out;
  for (int i = 1; i <= rung; ++i) out.*kNames[static_cast<std::size_t>(i)].adds = true;
  return out;
}

void check_ladder_dtypes(const pipeline::ModelDtypes& dtypes) {
  for (const Dtype dtype : {dtypes.decoder, dtypes.vision}) {
    if (kernels::is_quantized(compute_type(dtype))) {
      throw_error(ErrorCode::kInvalidArgument,
                  "--ladder starts from f32 or bf16 weights and ends with int8, found {}",
                  pipeline::dtype_name(dtype));
    }
  }
}

LadderModel::LadderModel(pipeline::Model model, const pipeline::SyntheticSizes& sizes)
    : model_(std::move(model)), sizes_(sizes), vision_config_(vision_config_of(model_, sizes)) {
  check_ladder_dtypes(model_.dtypes);
  if (model_.weight_source == pipeline::WeightSource::kConverted) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: was converted to {}, --ladder needs the original weights to quantise them",
                model_.directory.string(), pipeline::dtype_name(model_.dtypes.decoder));
  }
  const auto vision_type = compute_type(model_.dtypes.vision);
  const auto decoder_type = compute_type(model_.dtypes.decoder);
  // Before their weights are packed again: two copies of a model may be more than fits.
  model_.vision.reset();
  model_.decoder.reset();
  layers::WeightLog log;
  const layers::WeightReader reader(model_.checkpoint, model_.cache, &log);
  vision_weights_ = vision::qwen2_vl::load_vision_weights(reader, vision_config_, vision_type);
  decoder_weights_ = llm::qwen2::load_decoder_weights(reader, sizes_.decoder, decoder_type);
  const layers::WeightReader shared(
      with_packed(model_.checkpoint, std::move(log), model_.directory.string()));
  model_.vision = vision::qwen2_vl::make_encoder(vision_config_, shared, vision_type);
  model_.decoder = llm::qwen2::make_decoder(sizes_.decoder, shared, decoder_type);

  const pipeline::ModelDtypes int8 = pipeline::resolve_dtypes({.decoder = Dtype::kInt8}, {});
  // Finds the tower's weights where they have that type already.
  quantised_vision_ =
      vision::qwen2_vl::make_encoder(vision_config_, shared, compute_type(int8.vision));
  quantised_decoder_ = llm::qwen2::make_decoder(sizes_.decoder, shared, compute_type(int8.decoder));
}

std::unique_ptr<RungModel> LadderModel::rung(int number, std::int64_t capacity) {
  if (number == kShippedRung) {
    return std::make_unique<ShippedRung>(*model_.vision, *model_.decoder, capacity);
  }
  if (number == kQuantisedRung) {
    return std::make_unique<ShippedRung>(*quantised_vision_, *quantised_decoder_, capacity);
  }
  const Switches switches = rung_switches(number);
  return std::make_unique<SwitchedRung>(
      SwitchedEncoder(vision_config_, vision_weights_, compute_type(model_.dtypes.vision),
                      switches),
      std::make_unique<SwitchedDecoder>(sizes_.decoder, decoder_weights_,
                                        compute_type(model_.dtypes.decoder),
                                        model_.decoder->kv_type(), capacity, switches));
}

}  // namespace reelm::bench
