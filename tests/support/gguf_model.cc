#include "tests/support/gguf_model.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <vector>

#include "core/checkpoint.h"
#include "kernels/dequantize.h"
#include "layers/weight_reader.h"
#include "tests/support/gguf_writer.h"
#include "tests/support/random_model.h"

namespace reelm::test {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

Json read_json(const fs::path& path) {
  std::ifstream file(path);
  return file ? Json::parse(file) : Json();
}

void write_file(const fs::path& path, const std::string& bytes) {
  std::ofstream(path, std::ios::binary) << bytes;
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  return at == std::string::npos ? text : text.replace(at, from.size(), to);
}

/// llama.cpp's name of a tensor of Hugging Face's; "visual..." for those of the tower.
std::string gguf_name(std::string name, bool swapped_mlp) {
  const char* up = swapped_mlp ? "ffn_down" : "ffn_up";
  const char* down = swapped_mlp ? "ffn_up" : "ffn_down";
  const std::pair<std::string, std::string> tower[] = {{"visual.blocks.", "v.blk."},
                                                       {".norm1.", ".ln1."},
                                                       {".norm2.", ".ln2."},
                                                       {".attn.proj.", ".attn_out."},
                                                       {".attn.qkv.", ".attn_qkv."},
                                                       {".mlp.fc1.", std::string(".") + up + "."},
                                                       {"visual.merger.ln_q", "v.post_ln"},
                                                       {".mlp.fc2.", std::string(".") + down + "."},
                                                       {"visual.merger.mlp", "mm"}};
  const std::pair<std::string, std::string> decoder[] = {{"layers.", "blk."},
                                                         {"embed_tokens", "token_embd"},
                                                         {"self_attn.q_proj", "attn_q"},
                                                         {"self_attn.k_proj", "attn_k"},
                                                         {"self_attn.v_proj", "attn_v"},
                                                         {"self_attn.o_proj", "attn_output"},
                                                         {"post_attention_layernorm", "ffn_norm"},
                                                         {"input_layernorm", "attn_norm"},
                                                         {"mlp.gate_proj", "ffn_gate"},
                                                         {"mlp.up_proj", "ffn_up"},
                                                         {"mlp.down_proj", "ffn_down"},
                                                         {"lm_head", "output"}};
  name = replaced(replaced(name, "model.", ""), "language_model.", "");
  if (name.starts_with("visual.")) {
    for (const auto& [from, to] : tower) name = replaced(name, from, to);
    return name;
  }
  if (name == "norm.weight") return "output_norm.weight";
  for (const auto& [from, to] : decoder) name = replaced(name, from, to);
  return name;
}

std::uint32_t type_id(DType dtype) {
  const std::map<DType, std::uint32_t> ids = {
      {DType::kF32, 0}, {DType::kF16, 1}, {DType::kQ4_0, 2}, {DType::kQ8_0, 8}, {DType::kBF16, 30}};
  return ids.at(dtype);
}

std::vector<float> floats_of(const StoredTensor& tensor) {
  const std::int64_t n = element_count(tensor.shape);
  std::vector<float> out(static_cast<std::size_t>(n));
  layers::copy_elements({tensor.bytes.data(), tensor.dtype, 1, n}, 0, n, out.data());
  return out;
}

/// Blocks of 32 as gguf.quants and ggml make them, bit for bit.
std::string quantized(const std::vector<float>& x, DType type) {
  std::string out;
  const bool eight = type == DType::kQ8_0;
  for (std::size_t at = 0; at < x.size(); at += 32) {
    const auto larger = [](float a, float b) { return std::fabs(a) < std::fabs(b); };
    const float most = *std::max_element(x.data() + at, x.data() + at + 32, larger);
    const float d = eight ? std::fabs(most) / 127.0f : most / -8.0f;
    const float inverse = d == 0.0f ? 0.0f : 1.0f / d;
    out += GgufWriter::raw(to_f16(d));
    if (eight) {
      for (std::size_t i = 0; i < 32; ++i) {
        out += static_cast<char>(static_cast<int>(std::round(x[at + i] * inverse)));
      }
      continue;
    }
    const auto nibble = [&](std::size_t i) {
      const float lifted = x[at + i] * inverse;  // apart, so that it is not fused
      return std::min(15, static_cast<int>(lifted + 8.5f));
    };
    for (std::size_t i = 0; i < 16; ++i) out += static_cast<char>(nibble(i) | nibble(i + 16) << 4);
  }
  return out;
}

std::string bytes_of(const StoredTensor& tensor) {
  return {reinterpret_cast<const char*>(tensor.bytes.data()), tensor.bytes.size()};
}

std::vector<std::uint64_t> shape_of(const StoredTensor& tensor) {
  return {tensor.shape.begin(), tensor.shape.end()};
}

/// As F32, which norms and biases always are.
void add_floats(GgufWriter& writer, const std::string& name, const StoredTensor& tensor) {
  const std::vector<float> x = floats_of(tensor);
  writer.tensor(name, type_id(DType::kF32), shape_of(tensor),
                {reinterpret_cast<const char*>(x.data()), x.size() * sizeof(float)});
}

/// Conv3d as two Conv2d, q, k and v apart.
void add_tower_tensor(GgufWriter& writer, const StoredTensor& tensor, bool swapped_mlp) {
  const std::string name = gguf_name(tensor.name, swapped_mlp);
  const std::string bytes = bytes_of(tensor);
  std::vector<std::uint64_t> shape = shape_of(tensor);
  if (name == "visual.patch_embed.proj.weight") {
    const std::size_t image = shape[3] * shape[4] * dtype_size(tensor.dtype);
    std::string frames[2];
    for (std::size_t i = 0; i * image < bytes.size(); ++i) {
      frames[i % 2] += bytes.substr(i * image, image);
    }
    shape.erase(shape.begin() + 2);
    writer.tensor("v.patch_embd.weight", type_id(tensor.dtype), shape, frames[0]);
    writer.tensor("v.patch_embd.weight.1", type_id(tensor.dtype), shape, frames[1]);
  } else if (name.find("attn_qkv") != std::string::npos) {
    shape[0] /= 3;
    for (std::size_t i = 0; i < 3; ++i) {
      const std::size_t size = bytes.size() / 3;
      writer.tensor(replaced(name, "qkv", std::string(1, "qkv"[i])), type_id(tensor.dtype), shape,
                    bytes.substr(i * size, size));
    }
  } else if (shape.size() == 1) {
    add_floats(writer, name, tensor);
  } else {
    writer.tensor(name, type_id(tensor.dtype), shape, bytes);
  }
}

std::string chat_template_of(const fs::path& hf) {
  for (const char* name : {"tokenizer_config.json", "chat_template.json"}) {
    const Json json = read_json(hf / name);
    if (json.contains("chat_template")) return json["chat_template"].get<std::string>();
  }
  std::ifstream file(hf / "chat_template.jinja");
  return {std::istreambuf_iterator<char>(file), {}};
}

void add_tokenizer(GgufWriter& writer, const fs::path& hf, std::size_t vocab_size) {
  const Json json = read_json(fs::path(REELM_SOURCE_DIR) / "models/demo/tokenizer.json");
  std::vector<std::string> tokens(vocab_size), merges;
  std::vector<std::int32_t> types(vocab_size, 5);  // unused
  for (std::size_t i = 0; i < vocab_size; ++i) tokens[i] = "[PAD" + std::to_string(i) + "]";
  for (const auto& [token, id] : json["model"]["vocab"].items()) {
    tokens.at(id) = token;
    types.at(id) = 1;
  }
  for (const auto& token : json["added_tokens"]) {
    tokens.at(token["id"]) = token["content"];
    types.at(token["id"]) = token["special"] ? 3 : 4;
  }
  for (const auto& merge : json["model"]["merges"]) {
    merges.push_back(merge.is_string()
                         ? merge.get<std::string>()
                         : merge[0].get<std::string>() + " " + merge[1].get<std::string>());
  }
  writer.value("tokenizer.ggml.model", "gpt2");
  writer.value("tokenizer.ggml.pre", "qwen2");
  writer.value("tokenizer.ggml.tokens", std::span<const std::string>(tokens));
  writer.value("tokenizer.ggml.token_type", std::span<const std::int32_t>(types));
  writer.value("tokenizer.ggml.merges", std::span<const std::string>(merges));
  const Json ids = read_json(hf / "generation_config.json")["eos_token_id"];
  writer.value("tokenizer.ggml.eos_token_id", ids[0].get<std::uint32_t>());
  writer.value("tokenizer.chat_template", chat_template_of(hf));
}

/// rope_theta, wherever the config has it.
float rope_theta(const Json& text) {
  return text.contains("rope_theta") ? text["rope_theta"].get<float>()
                                     : text["rope_parameters"]["rope_theta"].get<float>();
}

void add_decoder_config(GgufWriter& writer, const Json& text, const std::string& arch) {
  const auto number = [&](const std::string& key, const char* from) {
    writer.value(arch + key, text[from].get<std::uint32_t>());
  };
  writer.value("general.architecture", arch);
  number(".block_count", "num_hidden_layers");
  number(".context_length", "max_position_embeddings");
  number(".embedding_length", "hidden_size");
  number(".feed_forward_length", "intermediate_size");
  number(".attention.head_count", "num_attention_heads");
  number(".attention.head_count_kv", "num_key_value_heads");
  writer.value(arch + ".attention.layer_norm_rms_epsilon", text["rms_norm_eps"].get<float>());
  writer.value(arch + ".rope.freq_base", rope_theta(text));
  for (const char* key : {"rope_scaling", "rope_parameters"}) {
    if (!text.contains(key) || !text[key].contains("mrope_section")) continue;
    auto sections = text[key]["mrope_section"].get<std::vector<std::int32_t>>();
    sections.push_back(0);
    writer.value(arch + ".rope.dimension_sections", std::span<const std::int32_t>(sections));
  }
}

GgufWriter tower_writer(const Json& config, const fs::path& hf) {
  const Json& v = config["vision_config"];
  const Json processor = read_json(hf / "preprocessor_config.json");
  GgufWriter writer;
  writer.value("general.architecture", "clip");
  writer.value("clip.projector_type", "qwen2vl_merger");
  const auto number = [&](const char* key, const char* from) {
    writer.value(std::string("clip.vision.") + key, v[from].get<std::uint32_t>());
  };
  number("patch_size", "patch_size");
  number("embedding_length", "embed_dim");
  number("feed_forward_length", "hidden_size");  // as the converter, which means another size
  number("projection_dim", "hidden_size");
  number("block_count", "depth");
  number("attention.head_count", "num_heads");
  for (const char* key : {"image_mean", "image_std"}) {
    const auto values = processor[key].get<std::vector<float>>();
    writer.value(std::string("clip.vision.") + key, std::span<const float>(values));
  }
  return writer;
}

}  // namespace

std::vector<std::string> gguf_model_names() {
  std::vector<std::string> out;
  for (const std::string& name : random_model_names()) {
    const Json spec = read_json(goldens_dir() / "models" / (name + ".json"));
    const std::string type = spec["files"]["config.json"]["model_type"];
    if (type == "qwen2" || type == "qwen2_vl") out.push_back(name);
  }
  return out;
}

GgufModelPaths write_gguf_model(const fs::path& dir, const std::string& name,
                                const GgufModelOptions& options) {
  GgufModelPaths out = {dir / "model.gguf", {}, dir / "hf", {}};
  write_random_model(out.as_made, name);
  const Json config = read_json(out.as_made / "config.json");
  const Json& text = config.contains("text_config") ? config["text_config"] : config;
  const bool has_tower = config.contains("vision_config");

  GgufWriter model;
  add_decoder_config(model, text, has_tower ? "qwen2vl" : "qwen2");
  add_tokenizer(model, out.as_made, text["vocab_size"]);
  GgufWriter tower = has_tower ? tower_writer(config, out.as_made) : GgufWriter();

  const auto type_of = [&](const StoredTensor& tensor) {
    if (tensor.shape.back() % 32 != 0) return DType::kU8;
    for (const auto& [part, type] : options.others) {
      if (tensor.name.find(part) != std::string::npos) return type;
    }
    return options.type;
  };
  const Checkpoint checkpoint = Checkpoint::open(out.as_made);
  std::vector<StoredTensor> as_floats;
  std::vector<std::vector<float>> kept;  // bytes of as_floats
  kept.reserve(checkpoint.tensors().size());
  for (const StoredTensor& tensor : checkpoint.tensors()) {
    as_floats.push_back(tensor);
    const std::string to = gguf_name(tensor.name, options.swapped_mlp);
    if (tensor.name.find("visual.") != std::string::npos) {
      add_tower_tensor(tower, tensor, options.swapped_mlp);
    } else if (tensor.shape.size() == 1) {
      add_floats(model, to, tensor);
    } else if (type_of(tensor) == DType::kU8) {
      model.tensor(to, type_id(tensor.dtype), shape_of(tensor), bytes_of(tensor));
    } else {
      std::vector<float>& x = kept.emplace_back(floats_of(tensor));
      const DType type = type_of(tensor);
      const std::string blocks = quantized(x, type);
      model.tensor(to, type_id(type), shape_of(tensor), blocks);
      kernels::dequantize(type, blocks.data(), x.data(), std::ssize(x));
      as_floats.back().dtype = DType::kF32;
      as_floats.back().bytes = std::as_bytes(std::span(x));
    }
  }
  write_file(out.model, model.file());
  if (has_tower) write_file(out.mmproj = dir / "mmproj.gguf", tower.file());
  if (options.type != DType::kU8) {
    out.floats = dir / "floats";
    fs::copy(out.as_made, out.floats);
    for (const auto& path : checkpoint.paths()) fs::remove(out.floats / path.filename());
    fs::remove(out.floats / "model.safetensors.index.json");
    write_safetensors(out.floats / "model.safetensors", as_floats);
  }
  return out;
}

Checkpoint write_gguf_blocks(const fs::path& path, const Checkpoint& from, DType type) {
  GgufWriter writer;
  for (const StoredTensor& tensor : from.tensors()) {
    if (tensor.shape.size() > 2) continue;
    const bool whole = tensor.shape.size() == 2 && tensor.shape[1] % 32 == 0;
    writer.tensor(tensor.name, type_id(whole ? type : tensor.dtype), shape_of(tensor),
                  whole ? quantized(floats_of(tensor), type) : bytes_of(tensor));
  }
  write_file(path, writer.file());
  std::vector<GgufFile> files;
  files.push_back(GgufFile::open(path));
  std::vector<Checkpoint::Renamed> tensors;
  for (const StoredTensor& tensor : files[0].tensors()) tensors.push_back({tensor});
  return Checkpoint::from_gguf(std::move(files), std::move(tensors), nullptr);
}

}  // namespace reelm::test
