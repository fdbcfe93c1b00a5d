// `reelm info`: what a model directory or a media file is.
#include <fmt/ranges.h>

#include <memory>
#include <nlohmann/json.hpp>

#include "apps/commands.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "core/throw.h"
#include "pipeline/model.h"
#include "pipeline/model_info.h"
#include "pipeline/model_source.h"

namespace reelm::apps {

namespace {

using OrderedJson = nlohmann::ordered_json;

struct InfoArguments {
  std::string what;
  ModelOptions model;
  SandboxOption sandbox;
  bool json = false;
  bool tensors = false;
  bool pts = false;
  bool families = false;
  TimeoutOption timeout;
};

double megabytes(std::int64_t bytes) { return static_cast<double>(bytes) / 1e6; }

void print_model(const pipeline::ModelInfo& info, const InfoArguments& a) {
  std::string out =
      fmt::format("model_type: {}{}\n", info.model_type, info.supported ? "" : " (not supported)");
  for (const auto& [key, value] : info.config) {
    if (key != "model_type") out += fmt::format("{}: {}\n", key, value);
  }
  out += fmt::format("parameters: {} ({} vision, {} decoder)\n", info.parameters,
                     info.vision_parameters, info.parameters - info.vision_parameters);
  out += fmt::format("tensors: {} in {} file(s)\n", info.tensors.size(), info.files);
  for (const auto& [dtype, bytes] : info.stored_bytes) {
    out += fmt::format("stored as {}: {:.1f} MB\n", dtype, megabytes(bytes));
  }
  if (info.converted) {
    out += fmt::format("converted: {}, vision tower {} (packed, layout {}: stored as U8)\n",
                       info.converted->dtype, info.converted->vision_dtype,
                       info.converted->layout_version);
  } else {
    out += fmt::format("weights in memory: f32 {:.1f} MB, bf16 {:.1f} MB\n",
                       megabytes(info.parameters * 4), megabytes(info.parameters * 2));
  }
  if (a.tensors) {
    for (const auto& t : info.tensors) {
      out += fmt::format("{} {} [{}]\n", t.name, t.dtype, fmt::join(t.shape, ", "));
    }
  }
  write_stdout(out);
}

void print_model_json(const pipeline::ModelInfo& info) {
  OrderedJson out;
  out["kind"] = "model";
  out["model_type"] = info.model_type;
  out["supported"] = info.supported;
  for (const auto& [key, value] : info.config) {
    out["config"][key] = OrderedJson::parse(value, nullptr, false);
  }
  out["parameters"] = info.parameters;
  out["vision_parameters"] = info.vision_parameters;
  out["files"] = info.files;
  for (const auto& [dtype, bytes] : info.stored_bytes) out["stored_bytes"][dtype] = bytes;
  if (info.converted) {
    out["converted"] = {{"dtype", info.converted->dtype},
                        {"vision_dtype", info.converted->vision_dtype},
                        {"layout_version", info.converted->layout_version}};
  } else {
    out["memory_bytes"] = {{"f32", info.parameters * 4}, {"bf16", info.parameters * 2}};
  }
  for (const auto& t : info.tensors) {
    out["tensors"].push_back({{"name", t.name}, {"dtype", t.dtype}, {"shape", t.shape}});
  }
  write_stdout(out.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

std::string stream_text(const preprocess::StreamInfo& s, bool chosen) {
  std::string out =
      fmt::format("stream {}{}: {} {}", s.index, chosen ? " (used)" : "", s.type, s.codec);
  if (s.type == "video") {
    out += fmt::format(", {}, {}x{}", s.pixel_format, s.width, s.height);
    if (s.rotation != 0) out += fmt::format(", rotation {} degrees clockwise", s.rotation);
    if (s.flipped) out += ", mirrored";
    if (s.is_interlaced()) out += ", interlaced";
    if (s.is_hdr()) out += ", HDR";
    if (s.cover) out += ", an attached picture";
    if (s.fps > 0) out += fmt::format(", {:.6g} frames/s", s.fps);
    if (s.frame_count) out += fmt::format(", {} frames announced", *s.frame_count);
    if (s.duration_seconds) out += fmt::format(", {:.6g} s", *s.duration_seconds);
    for (const std::string& name : {s.color_range, s.color_matrix, s.color_transfer}) {
      if (!name.empty() && name != "unknown") out += ", " + name;
    }
    if (s.sample_aspect_ratio != 1) {
      out +=
          fmt::format(", sample aspect ratio {:.6g} (see --square-pixels)", s.sample_aspect_ratio);
    }
  }
  return out + "\n";
}

void print_media(preprocess::Media& media, const InfoArguments& a) {
  const preprocess::MediaInfo& info = media.info();
  std::string out = fmt::format("{}: {}, {} bytes\n", media.is_image() ? "image" : "video",
                                info.container, info.size_bytes);
  for (const auto& s : info.streams) out += stream_text(s, s.index == info.video().index);
  if (!media.is_image()) {
    const preprocess::FrameIndex& frames = media.frame_index(&interrupt_token());
    const auto keys = std::count(frames.keyframe.begin(), frames.keyframe.end(), 1);
    out += fmt::format(
        "duration: {:.6g} s\nframes: {} ({} key frames), {:.6g} frames/s\nPTS: {:.6g} s to {:.6g} "
        "s\n",
        frames.end_seconds - frames.pts.front(), frames.size(), keys, frames.fps,
        frames.pts.front(), frames.pts.back());
    if (a.pts) out += fmt::format("{:.6f}\n", fmt::join(frames.pts, "\n"));
    for (const std::string& warning : frames.warnings) out += "warning: " + warning + "\n";
  }
  write_stdout(out);
}

OrderedJson stream_json(const preprocess::StreamInfo& s) {
  OrderedJson out;
  out["index"] = s.index;
  out["type"] = s.type;
  out["codec"] = s.codec;
  if (s.type != "video") return out;
  out["pixel_format"] = s.pixel_format;
  out["width"] = s.width;
  out["height"] = s.height;
  out["rotation"] = s.rotation;
  out["flipped"] = s.flipped;
  out["fps"] = s.fps;
  if (s.frame_count) out["frame_count"] = *s.frame_count;
  if (s.start_seconds) out["start_seconds"] = *s.start_seconds;
  if (s.duration_seconds) out["duration_seconds"] = *s.duration_seconds;
  out["color_range"] = s.color_range;
  out["color_matrix"] = s.color_matrix;
  out["color_primaries"] = s.color_primaries;
  out["color_transfer"] = s.color_transfer;
  out["bit_depth"] = s.bit_depth;
  out["sample_aspect_ratio"] = s.sample_aspect_ratio;
  out["field_order"] = s.field_order;
  out["cover"] = s.cover;
  return out;
}

void print_media_json(preprocess::Media& media) {
  const preprocess::MediaInfo& info = media.info();
  OrderedJson out;
  out["kind"] = media.is_image() ? "image" : "video";
  out["name"] = info.name;
  out["container"] = info.container;
  out["size_bytes"] = info.size_bytes;
  out["streams"] = OrderedJson::array();
  for (const auto& s : info.streams) out["streams"].push_back(stream_json(s));
  out["video_stream"] = info.video().index;
  if (!media.is_image()) {
    const preprocess::FrameIndex& frames = media.frame_index(&interrupt_token());
    out["duration_seconds"] = frames.end_seconds - frames.pts.front();
    out["frames"] = frames.size();
    out["fps"] = frames.fps;
    out["truncated"] = frames.truncated;
    out["pts"] = frames.pts;
    out["warnings"] = frames.warnings;
  }
  write_stdout(out.dump(2, ' ', false, OrderedJson::error_handler_t::replace) + "\n");
}

/// The table of README.md, which tests/apps/readme_test.py compares with it.
std::string families_table() {
  std::string out = "| family (`model_type`) | takes | checkpoints |\n|---|---|---|\n";
  for (const pipeline::FamilyInfo& f : pipeline::supported_families()) {
    out += fmt::format("| {} (`{}`) | {} | {} |\n", f.name, f.model_type, f.takes, f.checkpoints);
  }
  return out;
}

int run_info(const InfoArguments& a) {
  if (a.families) {
    write_stdout(families_table());
    return 0;
  }
  a.timeout.start();
  std::error_code ec;
  const std::string what = a.what.empty() ? a.model.directory().string() : a.what;
  if (std::filesystem::is_directory(what, ec) || pipeline::is_gguf_file(what)) {
    const pipeline::ModelInfo info = pipeline::describe_model(what, a.model.limits, a.model.mmproj);
    a.json ? print_model_json(info) : print_model(info, a);
    return 0;
  }
  const auto sandbox = a.sandbox.start();
  preprocess::Media media(preprocess::MediaSource::from_argument(what), a.model.limits,
                          &interrupt_token(), sandbox.get());
  a.json ? print_media_json(media) : print_media(media, a);
  return 0;
}

}  // namespace

void add_info(CLI::App& app, Command& chosen) {
  CLI::App* sub = app.add_subcommand("info", "what a model or a media file is");
  const auto a = std::make_shared<InfoArguments>();
  sub->add_option(
      "MODEL_OR_MEDIA", a->what,
      "a model directory or GGUF file, or a video or image (- is standard input); else the "
      "model");
  a->model.add_to(*sub);
  a->sandbox.add_to(*sub);
  a->timeout.add_to(*sub);
  sub->add_flag("--json", a->json, "print one JSON object");
  sub->add_flag("--tensors", a->tensors, "list every tensor of a model");
  sub->add_flag("--families", a->families, "list the model families that can be opened");
  sub->add_flag("--pts", a->pts, "list the time of every frame of a video");
  sub->footer(
      "Examples:\n"
      "  reelm info clip.mp4\n"
      "  reelm info Qwen2-VL-2B-Instruct --tensors");
  sub->callback([a, &chosen] { chosen = [a] { return run_info(*a); }; });
}

}  // namespace reelm::apps
