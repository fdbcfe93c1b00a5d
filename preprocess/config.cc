#include "preprocess/config.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "core/json.h"
#include "core/throw.h"

namespace reelm::preprocess {
namespace {

constexpr std::int64_t kMaxPixels = std::int64_t{1} << 40;
constexpr std::int64_t kMaxFrames = 1'000'000'000;

/// A JSON object and how errors name it.
struct Section {
  Json object;
  std::string where;
};

std::optional<std::int64_t> optional_int(const Json& object, std::string_view key,
                                         const std::string& where, std::int64_t min,
                                         std::int64_t max) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return std::nullopt;
  return json_int(object, key, where, min, max);
}

std::optional<Section> read_section(const ModelFiles& files, const char* name,
                                    const Limits& limits) {
  if (!files.has(name)) return std::nullopt;
  Section section{read_json_file(files, name, limits), name};
  if (!section.object.is_object()) {
    throw_error(ErrorCode::kFormat, "{}: expected an object, found {}", files.where(name),
                section.object.type_name());
  }
  return section;
}

std::optional<Section> nested(const std::optional<Section>& parent, const char* key) {
  if (!parent) return std::nullopt;
  const auto it = parent->object.find(key);
  if (it == parent->object.end() || !it->is_object()) return std::nullopt;
  return Section{*it, parent->where + ": " + key};
}

void read_triple(const Section& s, const char* key, std::array<double, 3>& out) {
  const auto it = s.object.find(key);
  if (it == s.object.end() || it->is_null()) return;
  if (!it->is_array() || it->size() != 3) {
    throw_error(ErrorCode::kFormat, "{}: {}: expected three numbers, found {}", s.where, key,
                it->dump());
  }
  for (std::size_t c = 0; c < 3; ++c) {
    if (!(*it)[c].is_number()) {
      throw_error(ErrorCode::kFormat, "{}: {}: expected three numbers, found {}", s.where, key,
                  it->dump());
    }
    out[c] = (*it)[c].get<double>();
  }
}

struct PixelBounds {
  std::optional<std::int64_t> min;
  std::optional<std::int64_t> max;
};

PixelBounds read_bounds(const Section& s) {
  PixelBounds bounds;
  const auto size = s.object.find("size");
  if (size != s.object.end() && size->is_object()) {
    const std::string where = s.where + ": size";
    bounds.min = optional_int(*size, "shortest_edge", where, 1, kMaxPixels);
    bounds.max = optional_int(*size, "longest_edge", where, 1, kMaxPixels);
    if (!bounds.min) bounds.min = optional_int(*size, "min_pixels", where, 1, kMaxPixels);
    if (!bounds.max) bounds.max = optional_int(*size, "max_pixels", where, 1, kMaxPixels);
  }
  // "backward compatibility: override size with min_pixels and max_pixels if they are provided"
  if (const auto v = optional_int(s.object, "min_pixels", s.where, 1, kMaxPixels)) bounds.min = v;
  if (const auto v = optional_int(s.object, "max_pixels", s.where, 1, kMaxPixels)) bounds.max = v;
  if (bounds.min && bounds.max && *bounds.min > *bounds.max) {
    throw_error(ErrorCode::kFormat, "{}: the smallest size {} is over the largest {}", s.where,
                *bounds.min, *bounds.max);
  }
  return bounds;
}

void read_shared(const Section& s, PreprocessorConfig& config) {
  config.patch_size = json_int_or(s.object, "patch_size", s.where, 1, 256, config.patch_size);
  config.temporal_patch_size =
      json_int_or(s.object, "temporal_patch_size", s.where, 1, 16, config.temporal_patch_size);
  config.merge_size = json_int_or(s.object, "merge_size", s.where, 1, 16, config.merge_size);
  read_triple(s, "image_mean", config.image_mean);
  read_triple(s, "image_std", config.image_std);
  config.rescale_factor =
      json_number_or(s.object, "rescale_factor", s.where, config.rescale_factor);
  for (std::size_t c = 0; c < 3; ++c) {
    if (!(config.image_std[c] > 0)) {
      throw_error(ErrorCode::kFormat, "{}: image_std: expected positive numbers, found {}", s.where,
                  config.image_std[c]);
    }
  }
  if (!(config.rescale_factor > 0)) {
    throw_error(ErrorCode::kFormat, "{}: rescale_factor: expected more than 0, found {}", s.where,
                config.rescale_factor);
  }
  for (const char* key : {"do_resize", "do_rescale", "do_normalize"}) {
    if (!json_bool_or(s.object, key, s.where, true)) {
      throw_error(ErrorCode::kUnsupported, "{}: {}: false is not supported, expected true", s.where,
                  key);
    }
  }
  constexpr std::int64_t kBicubic = 3;  // PIL.Image.Resampling
  const std::int64_t resample = json_int_or(s.object, "resample", s.where, 0, 10, kBicubic);
  if (resample != kBicubic) {
    throw_error(ErrorCode::kUnsupported, "{}: resample: {} is not supported, expected 3 (bicubic)",
                s.where, resample);
  }
}

void read_video(const Section& s, PreprocessorConfig& config) {
  config.bounds_whole_clips = json_string_or(s.object, "video_processor_type", s.where, "")
                                  .starts_with("Qwen3VLVideoProcessor");
  if (config.bounds_whole_clips) config.max_video_tokens = 768;
  const PixelBounds bounds = read_bounds(s);
  config.video_min_pixels = bounds.min;
  config.video_max_pixels = bounds.max;
  if (const auto it = s.object.find("fps"); it != s.object.end() && !it->is_null()) {
    config.fps = json_number(s.object, "fps", s.where);
    if (!(*config.fps > 0)) {
      throw_error(ErrorCode::kFormat, "{}: fps: expected more than 0, found {}", s.where,
                  *config.fps);
    }
  }
  config.num_frames = optional_int(s.object, "num_frames", s.where, 1, kMaxFrames);
  config.min_frames = optional_int(s.object, "min_frames", s.where, 1, kMaxFrames);
  config.max_frames = optional_int(s.object, "max_frames", s.where, 1, kMaxFrames);
  if (const auto it = s.object.find("cap_pixels_per_frame");
      it != s.object.end() && !it->is_null()) {
    config.cap_pixels_per_frame = json_bool_or(s.object, "cap_pixels_per_frame", s.where, false);
  }
  config.max_video_tokens = json_int_or(s.object, "max_video_tokens", s.where, 1, kMaxPixels >> 20,
                                        config.max_video_tokens);
}

}  // namespace

PreprocessorConfig load_preprocessor_config(const ModelFiles& files, const Limits& limits) {
  std::error_code ignored;
  if (!files.made() && !std::filesystem::is_directory(files.path(), ignored)) {
    throw_error(ErrorCode::kNotFound, "{}: no such model directory", files.path().string());
  }
  const auto processor = read_section(files, "processor_config.json", limits);
  const auto image_file = read_section(files, "preprocessor_config.json", limits);
  const auto video_file = read_section(files, "video_preprocessor_config.json", limits);

  // transformers prefers the section of processor_config.json, where recent versions save it.
  auto image = nested(processor, "image_processor");
  if (!image) image = image_file;
  auto video = nested(processor, "video_processor");
  if (!video) video = video_file;
  // transformers reads preprocessor_config.json as the last resort for videos too. Its limits were
  // written for images (the 2B model: 16384 tokens, 21 times what one video frame should cost), so
  // they count for videos only when the file says that it is a video processor's.
  if (!video && image_file && image_file->object.contains("video_processor_type")) {
    video = image_file;
  }

  PreprocessorConfig config;
  if (image) {
    read_shared(*image, config);
    const PixelBounds bounds = read_bounds(*image);
    config.image_min_pixels = bounds.min;
    config.image_max_pixels = bounds.max;
  }
  if (video) {
    PreprocessorConfig of_video = config;
    read_shared(*video, of_video);
    // One vision encoder serves both: it has one patch size.
    if (image && (of_video.factor() != config.factor() ||
                  of_video.temporal_patch_size != config.temporal_patch_size)) {
      throw_error(ErrorCode::kFormat,
                  "{}: patches of {}x{}x{} for videos, {} has {}x{}x{} for images", video->where,
                  of_video.temporal_patch_size, of_video.patch_size, of_video.merge_size,
                  image->where, config.temporal_patch_size, config.patch_size, config.merge_size);
    }
    config = of_video;
    read_video(*video, config);
  }
  return config;
}

}  // namespace reelm::preprocess
