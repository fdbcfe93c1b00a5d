// The keys of config.json that all families with the Qwen2 decoder share. Not installed.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "core/json.h"
#include "llm/qwen2/config.h"

namespace reelm::llm::qwen2 {

// Far above any published model; keeps every product of sizes below 2^63.
inline constexpr std::int64_t kMaxWidth = 1 << 20;
inline constexpr std::int64_t kMaxLayers = 1 << 12;
inline constexpr std::int64_t kMaxVocabulary = 1 << 22;
inline constexpr std::int64_t kMaxPositions = 1 << 24;

/// Where newer and older versions of transformers write down the rotary embedding.
inline constexpr const char* kRopeKeys[] = {"rope_scaling", "rope_parameters"};

/// All of DecoderConfig but mrope_section and vision_tokens, from the object `text`. `rope_types`
/// are the kinds of rotary embedding that the family can do, at least one; `rope_theta` is its base
/// where the config has none. Throws Error naming `where` and the key.
DecoderConfig read_decoder_config(const Json& text, const std::string& where,
                                  std::initializer_list<std::string_view> rope_types,
                                  double rope_theta);

/// Whether hidden_size is num_attention_heads times head_dim, as in all families whose config does
/// not set them apart. Throws Error{kFormat}.
void check_hidden_size(const DecoderConfig& config, const std::string& where);

/// Whether the other sizes fit one another. Throws Error{kFormat}.
void check_decoder_config(const DecoderConfig& config, const std::string& where);

}  // namespace reelm::llm::qwen2
