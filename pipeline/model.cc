#include "pipeline/model.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <future>
#include <map>

#include "core/json.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "layers/weight_reader.h"
#include "pipeline/families.h"
#include "pipeline/model_source.h"
#include "pipeline/packed_file.h"
#include "pipeline/packed_store.h"
#include "pipeline/prompt_format.h"

namespace reelm::pipeline {

namespace {

constexpr Dtype kDtypes[] = {Dtype::kAuto, Dtype::kF32,  Dtype::kBF16, Dtype::kInt8,
                             Dtype::kInt4, Dtype::kQ8_0, Dtype::kQ4_0};

/// What suits the type that most of the decoder's matrices have.
Dtype gguf_dtype(const Checkpoint& checkpoint) {
  std::map<DType, std::int64_t> elements;
  for (const StoredTensor& t : checkpoint.tensors()) {
    const bool in_layer = t.name.find(".layers.") != std::string::npos;
    if (in_layer && t.shape.size() == 2) elements[t.dtype] += element_count(t.shape);
  }
  const auto most = std::max_element(elements.begin(), elements.end(),
                                     [](auto& a, auto& b) { return a.second < b.second; });
  switch (most == elements.end() ? DType::kF32 : most->first) {
    case DType::kF32:
      return Dtype::kF32;
    case DType::kF16:
    case DType::kBF16:
      return Dtype::kBF16;
    case DType::kQ8_0:
      return Dtype::kQ8_0;
    case DType::kQ4_0:
      return Dtype::kQ4_0;
    case DType::kQ4_1:
    case DType::kQ4_K:
      return Dtype::kInt4;
    default:
      return Dtype::kInt8;
  }
}

Dtype stored_dtype(const Checkpoint& checkpoint) {
  if (checkpoint.is_gguf()) return gguf_dtype(checkpoint);
  const auto& tensors = checkpoint.tensors();
  const auto is_bf16 = [](const StoredTensor& t) { return t.dtype == DType::kBF16; };
  return std::any_of(tensors.begin(), tensors.end(), is_bf16) ? Dtype::kBF16 : Dtype::kF32;
}

/// Refuses weights that cannot fit before anything is packed: the system would kill the process.
void check_memory(const Model& model) {
  double needed = 0.0;
  for (const StoredTensor& tensor : model.checkpoint->tensors()) {
    if (tensor.dtype == DType::kU8) {  // packed already
      needed += static_cast<double>(tensor.bytes.size());
      continue;
    }
    const bool vision = tensor.name.find("visual.") != std::string::npos;
    const Dtype dtype = vision ? model.dtypes.vision : model.dtypes.decoder;
    needed += static_cast<double>(element_count(tensor.shape)) *
              kernels::bits_per_weight(compute_type(dtype)) / 8.0;
  }
  const std::int64_t available = available_memory_bytes();
  if (available > 0 && needed > static_cast<double>(available)) {
    throw_error(ErrorCode::kOutOfMemory,
                "{}: the weights take {:.0f} MB as {} (vision tower: {}), {} MB of memory are "
                "available",
                model.directory.string(), needed / (1 << 20), dtype_name(model.dtypes.decoder),
                dtype_name(model.dtypes.vision), available >> 20);
  }
}

/// The one file of a directory that reelm convert made; else null.
const SafetensorsFile* converted_file(const Checkpoint& checkpoint) {
  const auto& files = checkpoint.files();
  return files.size() == 1 && is_packed_file(files[0]) ? files.data() : nullptr;
}

Dtype converted_dtype(const SafetensorsFile& file, const char* key, const char* flag, Dtype asked) {
  const std::string name = metadata_value(file, key);
  for (const Dtype dtype : kDtypes) {
    if (dtype == Dtype::kAuto || name != dtype_name(dtype)) continue;
    if (asked == Dtype::kAuto || asked == dtype) return dtype;
    throw_error(ErrorCode::kInvalidArgument, "{}: was converted to {}, expected {} auto or {}",
                file.path().parent_path().string(), name, flag, name);
  }
  throw_error(ErrorCode::kFormat, "{}: '{}' in __metadata__ is '{}', expected a dtype",
              file.path().string(), key, name.substr(0, 60));
}

/// Checks what a converted file says of itself against this build and the wish; its types.
ModelDtypes converted_dtypes(const SafetensorsFile& file, const ModelDtypes& asked) {
  const std::string layout = metadata_value(file, kKeyLayout);
  if (layout != std::to_string(kernels::kPackedLayoutVersion)) {
    throw_error(ErrorCode::kUnsupported,
                "{}: packed in layout '{}', this reelm reads layout {}: convert the original model "
                "again (reelm convert)",
                file.path().string(), layout, kernels::kPackedLayoutVersion);
  }
  return {converted_dtype(file, kKeyDtype, "--dtype", asked.decoder),
          converted_dtype(file, kKeyVisionDtype, "--vision-dtype", asked.vision)};
}

/// Makes encoder and decoder from the checkpoint, and from `packed` (may be null) before it.
layers::WeightLog build_from(Model& model, std::shared_ptr<const SafetensorsFile> packed,
                             const OpenOptions& options) {
  const TimelineSpan span("load.weights", SpanKind::kStage);
  layers::WeightLog log;
  std::vector<layers::LoraAdapter> adapters;
  for (const auto& [directory, scale] : options.adapters) {
    adapters.push_back(layers::LoraAdapter::open(directory, scale, options.limits));
  }
  const layers::WeightReader reader(model.checkpoint, packed, &log, options.cancel,
                                    adapters.empty() ? nullptr : &adapters);
  find_family(model.files, model.model_type, options.limits).build(model, reader, options.limits);
  for (const layers::LoraAdapter& adapter : adapters) adapter.check_all_used();
  model.cache = std::move(packed);
  model.check_intact();  // before what was packed of lost pages is kept
  return log;
}

/// Whether all weights were packed before.
bool all_found(const layers::WeightLog& log) {
  return std::all_of(log.packed.begin(), log.packed.end(),
                     [](const layers::WeightLog::Packed& p) { return p.from_file; });
}

/// From `found` (may be null) where it has the weights; else packs them, and fills the cache.
layers::WeightLog build_cached(Model& model, PackedStore& store,
                               std::shared_ptr<const SafetensorsFile> found,
                               const OpenOptions& options) {
  if (found != nullptr) {
    const std::string path = found->path().string();
    try {
      layers::WeightLog log = build_from(model, std::move(found), options);
      if (all_found(log)) {
        model.weight_source = WeightSource::kCache;
        return log;
      }
      model.warnings.push_back(path + ": lacks weights of the model; packing them again");
    } catch (const Error& error) {
      if (error.code() == ErrorCode::kCancelled) throw;
      // The weights there do not fit, or the model itself is wrong, which is told below.
      model.warnings.push_back(std::string(error.what()) + "; packing the weights again");
    }
  }
  layers::WeightLog log = build_from(model, nullptr, options);
  if (options.cancel != nullptr) options.cancel->check();
  store.write(log, model.warnings);
  return log;
}

using FutureTokenizer = std::future<std::unique_ptr<const llm::Tokenizer>>;

std::unique_ptr<const llm::Tokenizer> wait_for(FutureTokenizer& tokenizer) {
  const TimelineWait wait("tokenizer.wait", lanes::kTokenizer);
  return tokenizer.get();
}

/// Encoder, decoder and tokenizer. The last is made beside the others: it takes a thread 0.5 s for
/// the vocabulary of Qwen2-VL, and bringing in the packed weights of the 2B model no less.
layers::WeightLog load_weights(Model& model, FutureTokenizer tokenizer,
                               const OpenOptions& options) {
  const SafetensorsFile* converted = converted_file(*model.checkpoint);
  model.dtypes = converted != nullptr
                     ? converted_dtypes(*converted, options.dtypes)
                     : resolve_dtypes(options.dtypes, stored_dtype(*model.checkpoint));
  check_memory(model);
  if (options.cancel != nullptr) options.cancel->check();
  if (converted != nullptr && !options.adapters.empty()) {
    throw_error(ErrorCode::kInvalidArgument,
                "{}: was converted; an adapter is merged into the original model (reelm convert "
                "--lora)",
                model.directory.string());
  }
  if (converted != nullptr) {
    check_packed_file(*converted, options.cancel);
    model.tokenizer = wait_for(tokenizer);
    model.weight_source = WeightSource::kConverted;
    return build_from(model, nullptr, options);
  }
  if (!options.adapters.empty()) {
    model.tokenizer = wait_for(tokenizer);
    return build_from(model, nullptr, options);
  }
  PackedStore store(options.packed_cache, model, options.limits, options.cancel);
  auto found = store.find(model.warnings);
  model.tokenizer = wait_for(tokenizer);  // a mistake in it is told before gigabytes are packed
  return build_cached(model, store, std::move(found), options);
}

void check_vocabulary(const Model& model) {
  const std::int64_t vocabulary = model.decoder->vocab_size();
  if (model.tokenizer->vocab_size() > vocabulary) {
    throw_error(ErrorCode::kFormat,
                "{}: the tokenizer has ids up to {}, but the model's vocab_size is {}",
                model.directory.string(), model.tokenizer->vocab_size() - 1, vocabulary);
  }
  for (const llm::TokenId id : model.generation.eos_token_id) {
    if (id >= vocabulary) {
      throw_error(ErrorCode::kFormat, "{}: eos_token_id {} is outside the vocabulary of {}",
                  model.directory.string(), id, vocabulary);
    }
  }
}

void check_preprocessor(const Model& model) {
  const preprocess::PreprocessorConfig& p = model.preprocessor;
  const std::int64_t width = 3 * p.temporal_patch_size * p.patch_size * p.patch_size;
  if (width != model.vision->patch_dim() || p.merge_size != model.vision->spatial_merge_size()) {
    throw_error(
        ErrorCode::kFormat,
        "{}: the preprocessor makes patches of {} values merged {}x{}, the vision tower takes "
        "{} merged {}x{}",
        model.directory.string(), width, p.merge_size, p.merge_size, model.vision->patch_dim(),
        model.vision->spatial_merge_size(), model.vision->spatial_merge_size());
  }
}

bool has_config(const std::filesystem::path& dir) {
  std::error_code ec;
  return std::filesystem::is_regular_file(dir / "config.json", ec);
}

}  // namespace

Dtype parse_dtype(const std::string& name) {
  for (const Dtype dtype : kDtypes) {
    if (name == dtype_name(dtype)) return dtype;
  }
  throw_error(ErrorCode::kInvalidArgument,
              "dtype is '{}', expected auto, f32, bf16, int8, int4, q8_0 or q4_0", name);
}

const char* dtype_name(Dtype dtype) noexcept {
  return dtype == Dtype::kAuto ? "auto" : kernels::compute_type_name(compute_type(dtype));
}

kernels::ComputeType compute_type(Dtype dtype) noexcept {
  switch (dtype) {
    case Dtype::kInt8:
      return kernels::ComputeType::kInt8;
    case Dtype::kInt4:
      return kernels::ComputeType::kInt4;
    case Dtype::kQ8_0:
      return kernels::ComputeType::kQ8_0;
    case Dtype::kQ4_0:
      return kernels::ComputeType::kQ4_0;
    case Dtype::kBF16:
      return kernels::ComputeType::kBF16;
    default:
      return kernels::ComputeType::kF32;
  }
}

ModelDtypes resolve_dtypes(const ModelDtypes& dtypes, Dtype stored) {
  if (kernels::keeps_blocks(compute_type(dtypes.decoder)) && dtypes.decoder != stored) {
    throw_error(ErrorCode::kInvalidArgument,
                "dtype {} is of GGUF files whose decoder is mostly stored so, expected auto (here "
                "{}), f32, bf16, int8 or int4",
                dtype_name(dtypes.decoder), dtype_name(stored));
  }
  if (kernels::keeps_blocks(compute_type(dtypes.vision))) {
    throw_error(ErrorCode::kInvalidArgument,
                "vision dtype is {}, expected auto, f32, bf16, int8 or int4",
                dtype_name(dtypes.vision));
  }
  ModelDtypes out = dtypes;
  if (out.decoder == Dtype::kAuto) out.decoder = stored;
  if (out.vision == Dtype::kAuto) {
    out.vision = out.decoder == Dtype::kF32 ? Dtype::kF32 : Dtype::kBF16;
  }
  return out;
}

std::string read_model_type(const ModelFiles& files, const Limits& limits) {
  std::error_code ec;
  const std::filesystem::path& path = files.path();
  if (!files.made() && !std::filesystem::is_directory(path, ec)) {
    throw_error(
        ErrorCode::kNotFound, "{}: {}", path.string(),
        std::filesystem::exists(path, ec)
            ? "is not a directory, expected a model directory with config.json or a GGUF file"
            : "no such model directory");
  }
  return json_string(read_json_file(files, "config.json", limits), "model_type",
                     files.where("config.json"));
}

Model Model::replica() const {
  return {.directory = directory,
          .files = files,
          .model_type = model_type,
          .dtypes = dtypes,
          .weight_source = weight_source,
          .warnings = warnings,
          .checkpoint = checkpoint,
          .cache = cache,
          .tokenizer = tokenizer,
          .vision = vision == nullptr ? nullptr : vision->replica(),
          .decoder = decoder->replica(),
          .preprocessor = preprocessor,
          .generation = generation,
          .prompt_format = prompt_format,
          .tokens = tokens,
          .tokens_per_second = tokens_per_second,
          .slice_timestamps = slice_timestamps,
          .default_system = default_system};
}

void Model::check_takes_media(const std::string& name) const {
  if (vision != nullptr) return;
  throw_error(ErrorCode::kInvalidArgument, "{}: model_type '{}' takes no images or videos", name,
              model_type);
}

void Model::check_intact() const {
  if (checkpoint != nullptr) checkpoint->check_intact();
  if (cache != nullptr) cache->check_intact();
}

Model open_model(const std::filesystem::path& path, const OpenOptions& options) {
  const TimelineSpan span("load", SpanKind::kStage);
  const Limits& limits = options.limits;
  const ModelSource source = open_model_source(path, options.mmproj, limits);
  Model model;
  model.files = source.files;
  model.directory = model.files.path();
  model.model_type = read_model_type(model.files, limits);
  (void)find_family(model.files, model.model_type, limits);
  auto tokenizer = std::async(std::launch::async | std::launch::deferred,
                              [&]() -> std::unique_ptr<const llm::Tokenizer> {
                                const TimelineLane lane(lanes::kTokenizer);
                                return llm::load_tokenizer(model.files, limits);
                              });
  model.preprocessor = preprocess::load_preprocessor_config(model.files, limits);
  model.generation = load_generation_config(model.files, limits);
  model.checkpoint = source.checkpoint(limits);
  layers::WeightLog log = load_weights(model, std::move(tokenizer), options);
  if (options.log != nullptr) *options.log = std::move(log);
  model.prompt_format->prepare(model);
  check_vocabulary(model);
  if (model.vision != nullptr) check_preprocessor(model);
  return model;
}

std::filesystem::path default_model_directory() {
  if (const char* env = std::getenv("REELM_MODEL"); env != nullptr && *env != '\0') return env;
  std::string looked;
  std::error_code ec;
  const std::filesystem::path program = std::filesystem::read_symlink("/proc/self/exe", ec);
  if (!ec) {
    const std::filesystem::path bin = program.parent_path();
    std::vector<std::filesystem::path> places = {bin.parent_path() / "share/reelm/models/demo"};
    // build/<preset>/apps/reelm: the source tree is a few steps up.
    std::filesystem::path up = bin;
    for (int i = 0; i < 6 && up.has_relative_path(); ++i, up = up.parent_path()) {
      places.push_back(up / "models/demo");
    }
    for (const std::filesystem::path& place : places) {
      if (has_config(place)) return place;
      looked += (looked.empty() ? "" : ", ") + place.string();
    }
  }
  throw_error(ErrorCode::kNotFound,
              "no model was named (--model DIR or REELM_MODEL), and the demo model is not in: {}",
              looked);
}

std::int64_t available_memory_bytes() noexcept {
  try {
    std::ifstream file("/proc/meminfo");
    std::string key;
    std::int64_t kilobytes = 0;
    std::string unit;
    while (file >> key >> kilobytes) {
      if (key == "MemAvailable:") return kilobytes * 1024;
      std::getline(file, unit);
    }
  } catch (...) {
    // No such file, or not readable: unknown.
  }
  return 0;
}

}  // namespace reelm::pipeline
