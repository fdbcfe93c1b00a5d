#include "llm/tokenizer_files.h"

#include <algorithm>
#include <unordered_set>

#include "core/json.h"
#include "core/throw.h"
#include "llm/tokenizer_json.h"
#include "llm/tokenizer_split.h"

namespace reelm::llm {

namespace {

/// For messages: one line of JSON, not too long.
std::string excerpt(const Json& value) {
  std::string text = value.dump(-1, ' ', true, Json::error_handler_t::replace);
  return text.size() > 200 ? text.substr(0, 197) + "..." : text;
}

const Json& member_or_null(const Json& object, std::string_view key) {
  static const Json null;
  const auto it = object.find(key);
  return it == object.end() ? null : *it;
}

std::string type_of(const Json& component) {
  const auto it = component.is_object() ? component.find("type") : component.end();
  return component.is_object() && it != component.end() && it->is_string() ? it->get<std::string>()
                                                                           : "";
}

/// Refuses what reelm does not do: Error{kUnsupported} saying what was found and what is possible.
void expect(bool ok, const std::string& where, std::string_view what, const Json& found,
            std::string_view expected) {
  if (ok) return;
  throw_error(ErrorCode::kUnsupported, "{}: {} is {}, reelm supports only {}", where, what,
              excerpt(found), expected);
}

void check_object(const Json& value, const std::string& where) {
  if (!value.is_object()) {
    throw_error(ErrorCode::kFormat, "{}: expected an object, found {}", where, value.type_name());
  }
}

/// {"spelling": id, ...}.
std::vector<std::pair<std::string, TokenId>> read_vocab(const Json& vocab,
                                                        const std::string& where) {
  check_object(vocab, where);
  if (vocab.empty()) throw_error(ErrorCode::kFormat, "{}: is empty", where);
  std::vector<std::pair<std::string, TokenId>> out;
  out.reserve(vocab.size());
  for (const auto& [spelling, id] : vocab.get_ref<const Json::object_t&>()) {
    // json_int searches for the key again, which is slow 151,643 times: only what it must judge.
    const bool plain = id.is_number_unsigned() && id.get<std::uint64_t>() <= kMaxTokenId;
    out.emplace_back(
        spelling, plain ? id.get<TokenId>()
                        : static_cast<TokenId>(json_int(vocab, spelling, where, 0, kMaxTokenId)));
  }
  return out;
}

/// `place()` says where the line is.
template <typename Place>
std::pair<std::string, std::string> merge_of(std::string_view line, Place&& place) {
  if (auto merge = split_merge(line)) return std::move(*merge);
  throw_error(ErrorCode::kFormat, "{}: expected two tokens with a space between, found {}", place(),
              excerpt(Json(std::string(line))));
}

std::vector<std::pair<std::string, std::string>> read_merges(const Json& merges,
                                                             const std::string& where) {
  if (!merges.is_array()) {
    throw_error(ErrorCode::kFormat, "{}: expected an array, found {}", where, merges.type_name());
  }
  std::vector<std::pair<std::string, std::string>> out;
  out.reserve(merges.size());
  for (const Json& merge : merges) {
    if (merge.is_string()) {
      out.push_back(merge_of(merge.get_ref<const std::string&>(),
                             [&] { return fmt::format("{}[{}]", where, out.size()); }));
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      out.emplace_back(merge[0].get<std::string>(), merge[1].get<std::string>());
    } else {
      throw_error(ErrorCode::kFormat, "{}[{}]: expected \"a b\" or [\"a\", \"b\"], found {}", where,
                  out.size(), excerpt(merge));
    }
  }
  return out;
}

/// Lines "a b" by rank, the first perhaps "#version: ...".
std::vector<std::pair<std::string, std::string>> read_merges_txt(const std::string& content,
                                                                 const std::string& where) {
  std::vector<std::pair<std::string, std::string>> out;
  for_each_line(content, [&](std::string_view line, std::size_t number) {
    if (number == 1 && line.starts_with("#version")) return;
    out.push_back(merge_of(line, [&] { return fmt::format("{}: line {}", where, number); }));
  });
  if (out.empty()) throw_error(ErrorCode::kFormat, "{}: has no merges", where);
  return out;
}

AddedToken read_added(const Json& entry, TokenId id, const std::string& where) {
  AddedToken token;
  token.id = id;
  token.content = json_string(entry, "content", where);
  if (token.content.empty() || token.content.size() > kMaxAddedTokenBytes) {
    throw_error(ErrorCode::kFormat, "{}: content of {} bytes, expected 1 to {}", where,
                token.content.size(), kMaxAddedTokenBytes);
  }
  token.special = json_bool_or(entry, "special", where, false);
  token.single_word = json_bool_or(entry, "single_word", where, false);
  token.lstrip = json_bool_or(entry, "lstrip", where, false);
  token.rstrip = json_bool_or(entry, "rstrip", where, false);
  token.normalized = json_bool_or(entry, "normalized", where, !token.special);
  return token;
}

/// A file that repeats no key: the usual one with its large parts taken as they came, any other
/// with all of it in `rest`.
TokenizerJson read_large_json(const ModelFiles& files, std::string_view name,
                              TokenizerJsonPlaces places, const Limits& limits) {
  if (auto taken = take_tokenizer_json(files.read(name, limits), places, limits)) {
    return std::move(*taken);
  }
  return {.vocab = {}, .merges = {}, .rest = read_json_file_unique(files, name, limits)};
}

/// The model: byte-level BPE without the features Qwen2 does not use.
void read_model(TokenizerJson& json, const std::string& file, BpeData& data) {
  const Json& model = member_or_null(json.rest, "model");
  const std::string where = file + ": model";
  check_object(model, where);
  const Json& type = member_or_null(model, "type");
  expect(type.is_null() || type == "BPE", where, "type", type, "BPE");
  const auto is_off = [](const Json& v) { return v.is_null() || v == "" || v == false || v == 0; };
  for (const char* key :
       {"dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"}) {
    const Json& value = member_or_null(model, key);
    expect(is_off(value), where, key, value, "models without it");
  }
  data.ignore_merges = json_bool_or(model, "ignore_merges", where, false);
  data.vocab_source = file;
  data.merges_source = where + ".merges";
  if (!json.vocab.empty()) {
    data.vocab = std::move(json.vocab);
    data.merges = std::move(json.merges);
    return;
  }
  data.vocab = read_vocab(member_or_null(model, "vocab"), where + ".vocab");
  data.merges = read_merges(member_or_null(model, "merges"), data.merges_source);
}

/// The steps of a Sequence (`key` holds them), or the component itself.
std::vector<Json> steps_of(const Json& component, const char* key) {
  if (component.is_null()) return {};
  if (type_of(component) != "Sequence") return {component};
  const Json& steps = member_or_null(component, key);
  return steps.is_array() ? std::vector<Json>(steps.begin(), steps.end())
                          : std::vector<Json>{component};
}

/// Sequence of Split by Qwen2's pattern and ByteLevel, and nothing else.
void read_pre_tokenizer(const Json& pre, const std::string& file) {
  const auto steps = steps_of(pre, "pretokenizers");
  expect(steps.size() == 2 && type_of(steps[0]) == "Split" && type_of(steps[1]) == "ByteLevel",
         file, "pre_tokenizer", pre, "Split by the Regex of Qwen2, then ByteLevel");
  const Json& pattern = member_or_null(steps[0], "pattern");
  expect(pattern.is_object() && member_or_null(pattern, "Regex") == std::string(kQwen2Pattern),
         file, "the pattern of pre_tokenizer", pattern,
         fmt::format("the Regex of Qwen2, {}", kQwen2Pattern));
  const Json& behavior = member_or_null(steps[0], "behavior");
  expect(behavior == "Isolated", file, "behavior of the Split of pre_tokenizer", behavior,
         "Isolated");
  const Json& invert = member_or_null(steps[0], "invert");
  expect(invert.is_null() || invert == false, file, "invert of the Split of pre_tokenizer", invert,
         "false");
  for (const char* key : {"add_prefix_space", "use_regex"}) {
    const Json& value = member_or_null(steps[1], key);
    expect(value == false, file, fmt::format("{} of the ByteLevel of pre_tokenizer", key), value,
           "false");
  }
}

/// The TemplateProcessing that transformers 5 writes for Qwen2: the text alone, no special tokens.
bool adds_nothing(const Json& post_processor) {
  if (type_of(post_processor) != "TemplateProcessing") return false;
  const Json& single = member_or_null(post_processor, "single");
  return single.is_array() && single.size() == 1 && single[0].is_object() &&
         single[0].contains("Sequence");
}

/// Only what decides ids and text is looked at; offsets (trim_offsets) are not reelm's business.
void read_components(const Json& root, const std::string& file, BpeData& data) {
  const Json& normalizer = member_or_null(root, "normalizer");
  const auto normal_steps = steps_of(normalizer, "normalizers");
  data.nfc = !normal_steps.empty();
  expect(std::all_of(normal_steps.begin(), normal_steps.end(),
                     [](const Json& step) { return type_of(step) == "NFC"; }),
         file, "normalizer", normalizer, "NFC or none");

  read_pre_tokenizer(member_or_null(root, "pre_tokenizer"), file);

  for (const char* key : {"decoder", "post_processor"}) {
    const Json& component = member_or_null(root, key);
    expect(component.is_null() || type_of(component) == "ByteLevel" ||
               (key == std::string_view("post_processor") && adds_nothing(component)),
           file, key, component, "ByteLevel or none");
  }
}

/// Contents that tokenizer_config.json names as special tokens, whatever their place.
std::unordered_set<std::string> config_specials(const Json& config) {
  std::unordered_set<std::string> out;
  const auto add = [&](const Json& value) {
    if (value.is_string()) out.insert(value.get<std::string>());
    if (value.is_object() && member_or_null(value, "content").is_string()) {
      out.insert(value["content"].get<std::string>());
    }
  };
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token",
                          "cls_token", "mask_token"}) {
    add(member_or_null(config, key));
  }
  for (const char* key : {"additional_special_tokens", "extra_special_tokens"}) {
    const Json& list = member_or_null(config, key);
    if (!list.is_structured()) continue;
    for (const Json& value : list) add(value);
  }
  return out;
}

/// Makes them special, and added tokens of those that are only in the vocabulary.
void mark_specials(std::unordered_set<std::string> specials, BpeData& data) {
  for (AddedToken& token : data.added) {
    if (specials.erase(token.content) != 0) token.special = true;
  }
  if (specials.empty()) return;
  for (const auto& [spelling, id] : data.vocab) {
    if (specials.count(spelling) == 0) continue;
    AddedToken token;
    token.id = id;
    token.content = spelling;
    token.special = true;
    data.added.push_back(std::move(token));
  }
}

TokenId id_of_key(const std::string& key, const std::string& where) {
  const bool digits =
      !key.empty() && key.size() <= 9 &&
      std::all_of(key.begin(), key.end(), [](char c) { return c >= '0' && c <= '9'; });
  const int id = digits ? std::stoi(key) : -1;
  if (id < 0 || id > kMaxTokenId) {
    throw_error(ErrorCode::kFormat, "{}: key {} is not an id from 0 to {}", where,
                excerpt(Json(key)), kMaxTokenId);
  }
  return id;
}

}  // namespace

void for_each_line(std::string_view text,
                   const std::function<void(std::string_view, std::size_t)>& take) {
  for (std::size_t number = 1; !text.empty(); ++number) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    std::string_view line = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (!line.empty() && line.back() == '\r') line.remove_suffix(1);
    if (!line.empty()) take(line, number);
  }
}

BpeData read_tokenizer_json(const ModelFiles& files, const Limits& limits) {
  TokenizerJson json = read_large_json(files, "tokenizer.json", kTokenizerJsonPlaces, limits);
  const Json& root = json.rest;
  const std::string file = files.where("tokenizer.json");
  check_object(root, file);
  BpeData data;
  // Before the vocabulary: "this is a WordPiece tokenizer" says more than what is wrong with its
  // vocabulary as BPE.
  const Json& model = member_or_null(root, "model");
  if (const std::string type = type_of(model); !type.empty()) {
    expect(type == "BPE", file + ": model", "type", Json(type), "BPE");
  }
  read_components(root, file, data);
  read_model(json, file, data);
  const Json& added = member_or_null(root, "added_tokens");
  if (added.is_null()) return data;
  if (!added.is_array()) {
    throw_error(ErrorCode::kFormat, "{}: added_tokens: expected an array, found {}", file,
                added.type_name());
  }
  for (std::size_t i = 0; i < added.size(); ++i) {
    const std::string where = fmt::format("{}: added_tokens[{}]", file, i);
    const auto id = static_cast<TokenId>(json_int(added[i], "id", where, 0, kMaxTokenId));
    data.added.push_back(read_added(added[i], id, where));
  }
  return data;
}

BpeData read_vocab_and_merges(const ModelFiles& files, const Limits& limits) {
  constexpr const char* kAdded = "added_tokens.json";
  BpeData data;
  data.vocab_source = files.where("vocab.json");
  data.merges_source = files.where("merges.txt");
  TokenizerJson json = read_large_json(files, "vocab.json", kVocabJsonPlaces, limits);
  data.vocab =
      json.vocab.empty() ? read_vocab(json.rest, data.vocab_source) : std::move(json.vocab);
  data.merges = read_merges_txt(files.read("merges.txt", limits), data.merges_source);
  if (!files.has(kAdded)) return data;
  const Json added = read_json_file_unique(files, kAdded, limits);
  const std::string where = files.where(kAdded);
  check_object(added, where);
  for (const auto& [content, id] : added.items()) {
    const Json entry = {{"content", content}, {"normalized", false}};
    data.added.push_back(read_added(
        entry, static_cast<TokenId>(json_int(added, content, where, 0, kMaxTokenId)), where));
  }
  return data;
}

void add_config_tokens(const ModelFiles& files, const Limits& limits, BpeData& data) {
  constexpr const char* kName = "tokenizer_config.json";
  if (!files.has(kName)) return;
  const Json config = read_json_file(files, kName, limits);
  const std::string file = files.where(kName);
  check_object(config, file);
  const Json& decoder = member_or_null(config, "added_tokens_decoder");
  if (!decoder.is_null()) {
    const std::string where = file + ": added_tokens_decoder";
    check_object(decoder, where);
    for (const auto& [key, entry] : decoder.items()) {
      const TokenId id = id_of_key(key, where);
      AddedToken token = read_added(entry, id, where + "." + key);
      const auto same = std::find_if(
          data.added.begin(), data.added.end(),
          [&](const AddedToken& t) { return t.id == id && t.content == token.content; });
      // Of the two, transformers takes the flags of this file. A contradiction in id or content
      // stays in the list, for make_bpe_tokenizer to refuse.
      if (same == data.added.end()) {
        data.added.push_back(std::move(token));
      } else {
        *same = std::move(token);
      }
    }
  }
  mark_specials(config_specials(config), data);
}

}  // namespace reelm::llm
