#include "pipeline/gguf/texts.h"

#include <algorithm>
#include <set>

#include "core/throw.h"
#include "llm/tokenizer_bpe.h"

namespace reelm::pipeline::gguf {

namespace {

/// llama.cpp's llama_token_type.
enum TokenType : std::int64_t { kNormal = 1, kUnknown, kControl, kUserDefined, kUnused, kByte };

std::string dump(const Json& json, const std::string& where) {
  try {
    return json.dump(2);
  } catch (const Json::exception&) {
    throw_error(ErrorCode::kFormat, "{}: holds text that is not UTF-8", where);
  }
}

void expect_string(const GgufFile& file, const char* key, std::string_view expected) {
  const std::string found = required_string(file, key);
  if (found == expected) return;
  throw_error(ErrorCode::kUnsupported, "{}: metadata '{}' is '{}', expected '{}'",
              file.path().string(), key, found.substr(0, 60), expected);
}

std::span<const std::string_view> required_strings(const GgufFile& file, const char* key) {
  const auto found = file.strings(key);
  if (!found) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' is missing", file.path().string(), key);
  }
  return *found;
}

/// The vocabulary, as vocab.json and the added tokens of tokenizer_config.json have it.
struct Vocabulary {
  Json vocab = Json::object();  // spelling -> id
  Json added = Json::object();  // id -> {content, special, ...}
  std::set<std::int64_t> ends;  // ids of tokens that end a turn
};

/// As convert_hf_to_gguf.py deals them out: control tokens are special, user-defined ones are added
/// but not special, unused ones fill up the rows of the embeddings.
Vocabulary read_vocabulary(const GgufFile& file) {
  constexpr const char* kTokens = "tokenizer.ggml.tokens";
  constexpr const char* kTypes = "tokenizer.ggml.token_type";
  const auto tokens = required_strings(file, kTokens);
  const auto types = file.integers(kTypes, kNormal, kByte);
  if (!types || types->size() != tokens.size()) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' has {} values, expected {}, one a token",
                file.path().string(), kTypes, types ? types->size() : 0, tokens.size());
  }
  if (tokens.size() > llm::kMaxTokenId + std::size_t{1}) {
    throw_error(ErrorCode::kFormat, "{}: metadata '{}' has {} values, expected {} at most",
                file.path().string(), kTokens, tokens.size(), llm::kMaxTokenId + 1);
  }
  Vocabulary out;
  for (std::size_t id = 0; id < tokens.size(); ++id) {
    const std::string token(tokens[id]);
    const std::int64_t type = (*types)[id];
    if (type == kUnused) continue;
    if (type == kControl || type == kUserDefined) {
      out.added[std::to_string(id)] = {
          {"content", token}, {"special", type == kControl}, {"normalized", false}};
      if (token == "<|im_end|>" || token == "<|endoftext|>") {
        out.ends.insert(static_cast<std::int64_t>(id));
      }
    } else if (!out.vocab.emplace(token, id).second) {
      throw_error(ErrorCode::kFormat, "{}: metadata '{}'[{}]: a token that is there twice",
                  file.path().string(), kTokens, id);
    }
  }
  return out;
}

std::string merges_text(const GgufFile& file) {
  constexpr const char* kMerges = "tokenizer.ggml.merges";
  std::string out;
  const auto merges = required_strings(file, kMerges);
  for (std::size_t i = 0; i < merges.size(); ++i) {
    if (merges[i].empty() || merges[i].find_first_of("\r\n") != std::string_view::npos) {
      throw_error(ErrorCode::kFormat, "{}: metadata '{}'[{}] is no merge of two tokens",
                  file.path().string(), kMerges, i);
    }
    out.append(merges[i]).append("\n");
  }
  return out;
}

/// Ids that end an answer: what the file names, and what llama.cpp takes for ends by their names.
Json generation_config(const GgufFile& file, std::set<std::int64_t> ends) {
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id"}) {
    if (const auto id = file.integer(key, 0, llm::kMaxTokenId)) ends.insert(*id);
  }
  Json out;
  out["eos_token_id"] = ends;
  const auto number = [&](const char* to, const char* key) {
    if (const auto v = file.number(std::string("general.sampling.") + key)) out[to] = *v;
  };
  number("temperature", "temp");
  number("top_p", "top_p");
  number("repetition_penalty", "penalty_repeat");
  if (const auto k = file.integer("general.sampling.top_k", 0, INT32_MAX)) out["top_k"] = *k;
  if (out.contains("temperature")) out["do_sample"] = out["temperature"] > 0.0;
  return out;
}

}  // namespace

ModelFiles make_texts(const GgufFile& file, const GgufFile* mmproj, const Family& family) {
  expect_string(file, "tokenizer.ggml.model", "gpt2");
  expect_string(file, "tokenizer.ggml.pre", "qwen2");
  Json config = family.config(file), preprocessor;
  ModelFiles::Texts texts;
  if (mmproj != nullptr) {
    expect_string(*mmproj, "general.architecture", "clip");
    expect_string(*mmproj, "clip.projector_type", family.projector->type);
    family.projector->configure(file, *mmproj, config, preprocessor);
    texts["preprocessor_config.json"] = preprocessor.dump(2);
  }
  const std::string path = file.path().string();
  Vocabulary vocabulary = read_vocabulary(file);
  Json tokenizer = {{"added_tokens_decoder", std::move(vocabulary.added)}};
  if (auto chat = file.string("tokenizer.chat_template")) tokenizer["chat_template"] = *chat;
  texts["config.json"] = dump(config, path + ": metadata");
  texts["generation_config.json"] = dump(generation_config(file, std::move(vocabulary.ends)), path);
  texts["vocab.json"] = dump(vocabulary.vocab, path + ": metadata 'tokenizer.ggml.tokens'");
  texts["merges.txt"] = merges_text(file);
  texts["tokenizer_config.json"] = dump(tokenizer, path + ": metadata of the tokenizer");
  return {file.path(), std::move(texts)};
}

}  // namespace reelm::pipeline::gguf
