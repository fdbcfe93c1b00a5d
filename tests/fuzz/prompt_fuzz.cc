// Messages in the words of a user: a byte for the role, then text up to a NUL, or media.
// Holds: as many special tokens as the template has, whatever the text spells, and the text comes
// back from its ids.
#include "llm/tokenizer_unicode.h"
#include "pipeline/prompt.h"
#include "tests/fuzz/tokenizer_checks.h"

namespace reelm::fuzz {
namespace {

constexpr std::size_t kMostMessages = 16;

const llm::Tokenizer& tokenizer() {
  static const auto loaded =
      llm::load_tokenizer(std::filesystem::path(REELM_SOURCE_DIR) / "models" / "demo");
  return *loaded;
}

pipeline::PromptTokens prompt_tokens() {
  const auto id = [](std::string_view content) { return tokenizer().special_id(content).value(); };
  return {id("<|im_start|>"),
          id("<|im_end|>"),
          id("<|vision_start|>"),
          id("<|vision_end|>"),
          {id("<|image_pad|>"), id("<|video_pad|>")}};
}

struct Conversation {
  std::vector<pipeline::Message> messages;
  std::vector<pipeline::MediaTokens> media;
  std::ptrdiff_t vision_tokens = 0;
};

Conversation take_conversation(Input& in) {
  static const char* const roles[] = {"user", "assistant", "system", "tool"};
  Conversation c;
  while (!in.empty() && c.messages.size() < kMostMessages) {
    const auto what = in.take<std::uint8_t>();
    if (what < 4 || c.messages.empty()) c.messages.push_back({roles[what % 4], {}});
    auto& content = c.messages.back().content;
    if (what >= 0xf0) {
      c.media.push_back({(what & 1) != 0, in.number(0, 40)});
      c.vision_tokens += c.media.back().n_vision_tokens;
      content.emplace_back(preprocess::MediaSource::from_path("x"));
    } else {
      content.emplace_back(std::string(text(in.until(0))));
    }
  }
  return c;
}

void check_text(std::string_view said) {
  const auto ids = check_encoding(tokenizer(), said);
  for (const llm::TokenId id : ids) REELM_CHECK(!tokenizer().is_special(id));
  REELM_CHECK(tokenizer().decode(ids, false) == llm::normalize_nfc(llm::utf8_lossy(said)));
}

void check_prompt(const Conversation& c, bool first_turn) {
  static const pipeline::PromptTokens tokens = prompt_tokens();
  const auto ids = pipeline::chat_prompt(
      tokenizer(), tokens, c.messages, c.media,
      first_turn ? std::optional(pipeline::kDefaultSystemPrompt) : std::nullopt);
  const auto count = [&](llm::TokenId id) { return std::count(ids.begin(), ids.end(), id); };
  const bool system_added = first_turn && c.messages.front().role != "system";
  const auto closed = static_cast<std::ptrdiff_t>(c.messages.size()) + (system_added ? 1 : 0);
  const auto n_media = static_cast<std::ptrdiff_t>(c.media.size());
  REELM_CHECK(count(tokens.im_start) == closed + 1);
  REELM_CHECK(count(tokens.im_end) == closed);
  REELM_CHECK(count(tokens.vision_start) == n_media && count(tokens.vision_end) == n_media);
  REELM_CHECK(count(tokens.placeholders.image) + count(tokens.placeholders.video) ==
              c.vision_tokens);
  const auto specials = std::count_if(ids.begin(), ids.end(),
                                      [](llm::TokenId id) { return tokenizer().is_special(id); });
  REELM_CHECK(specials == 2 * closed + 1 + 2 * n_media + c.vision_tokens);
}

}  // namespace

void fuzz_one(Bytes input) {
  Input in(input);
  const bool first_turn = in.coin();
  const Conversation conversation = take_conversation(in);
  succeeds([&] { check_prompt(conversation, first_turn); });
  succeeds([&] { check_text(text(input)); });
}

}  // namespace reelm::fuzz
