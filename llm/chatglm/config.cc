#include "llm/chatglm/config.h"

#include "core/json.h"
#include "core/throw.h"

namespace reelm::llm::chatglm {

namespace {

// Far above any published model; keeps every product of sizes below 2^63.
constexpr std::int64_t kMaxWidth = 1 << 20;
constexpr std::int64_t kMaxLayers = 1 << 12;
constexpr std::int64_t kMaxVocabulary = 1 << 22;
// The workspace has rows for all of a prompt.
constexpr std::int64_t kMaxPositions = 1 << 16;

void check_supported(const Json& root, const std::string& where) {
  if (!json_bool_or(root, "position_encoding_2d", where, true)) {
    throw_error(ErrorCode::kUnsupported, "{}: 'position_encoding_2d' is false, expected true",
                where);
  }
  if (const auto bits = json_int_or(root, "quantization_bit", where, 0, 64, 0); bits != 0) {
    throw_error(ErrorCode::kUnsupported,
                "{}: 'quantization_bit' is {}, expected 0: weights as they were before "
                "(--dtype int8 or int4 quantises them)",
                where, bits);
  }
  if (root.is_object() && root.contains("pre_seq_len") && !root["pre_seq_len"].is_null()) {
    throw_error(ErrorCode::kUnsupported,
                "{}: has 'pre_seq_len', expected a model without a P-tuning prefix", where);
  }
}

}  // namespace

DecoderConfig load_decoder_config(const ModelFiles& files, const Limits& limits) {
  const std::string where = files.where("config.json");
  const Json root = read_json_file(files, "config.json", limits);
  check_supported(root, where);
  DecoderConfig c;
  c.hidden_size = json_int(root, "hidden_size", where, 1, kMaxWidth);
  c.inner_hidden_size = json_int(root, "inner_hidden_size", where, 1, kMaxWidth);
  c.num_layers = json_int(root, "num_layers", where, 1, kMaxLayers);
  c.num_attention_heads = json_int(root, "num_attention_heads", where, 1, kMaxWidth);
  c.head_dim = c.hidden_size / c.num_attention_heads;
  c.vocab_size = json_int(root, "vocab_size", where, 1, kMaxVocabulary);
  c.max_sequence_length = json_int_or(root, "max_sequence_length", where, 1, kMaxPositions, 2048);
  c.layernorm_epsilon = json_number_or(root, "layernorm_epsilon", where, c.layernorm_epsilon);
  // Where older files have no ids, those of the vocabulary with the image tokens.
  const auto id = [&](const char* key, std::int64_t missing) {
    const auto found = json_int_or(root, key, where, 0, kMaxVocabulary, missing);
    if (found >= c.vocab_size) {
      throw_error(ErrorCode::kFormat, "{}: {} {} is outside the vocabulary of {}", where, key,
                  found, c.vocab_size);
    }
    return static_cast<TokenId>(found);
  };
  c.bos_token_id = id("bos_token_id", 150004);
  c.gmask_token_id = id("gmask_token_id", 150001);
  if (c.head_dim * c.num_attention_heads != c.hidden_size || c.head_dim % 4 != 0) {
    throw_error(ErrorCode::kFormat,
                "{}: hidden_size {} must be num_attention_heads {} times a head_dim that is a "
                "multiple of 4, found {}",
                where, c.hidden_size, c.num_attention_heads, c.head_dim);
  }
  if (!(c.layernorm_epsilon >= 0.0 && c.layernorm_epsilon < 1.0)) {
    throw_error(ErrorCode::kFormat, "{}: layernorm_epsilon {} is out of range", where,
                c.layernorm_epsilon);
  }
  return c;
}

}  // namespace reelm::llm::chatglm
