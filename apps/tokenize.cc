// `reelm tokenize`: text to ids and back.
#include <fmt/ranges.h>

#include <charconv>
#include <memory>

#include "apps/commands.h"
#include "apps/options.h"
#include "apps/output.h"
#include "core/throw.h"
#include "core/timeline.h"
#include "llm/tokenizer.h"

namespace reelm::apps {

namespace {

// What a prompt can hold is far less; more text than this is a mistake.
constexpr std::int64_t kMaxText = 256 << 20;

struct TokenizeArguments {
  std::string text;
  ModelOptions model;
  bool decode = false;
  bool specials = false;
};

std::vector<llm::TokenId> parse_ids(const std::string& text) {
  std::vector<llm::TokenId> out;
  const char* p = text.data();
  const char* const end = p + text.size();
  const auto is_separator = [](char c) {
    return c == ' ' || c == ',' || c == '\n' || c == '\t' || c == '\r' || c == '[' || c == ']';
  };
  while (true) {
    while (p != end && is_separator(*p)) ++p;
    if (p == end) return out;
    llm::TokenId id = 0;
    const auto parsed = std::from_chars(p, end, id);
    if (parsed.ec != std::errc() || (parsed.ptr != end && !is_separator(*parsed.ptr))) {
      const char* stop = p;
      while (stop != end && !is_separator(*stop)) ++stop;
      throw_error(ErrorCode::kInvalidArgument, "'{}' is not a token id", std::string(p, stop));
    }
    out.push_back(id);
    p = parsed.ptr;
  }
}

int run_tokenize(const TokenizeArguments& a) {
  const auto tokenizer = llm::load_tokenizer(a.model.files(), a.model.limits);
  const std::string text = a.text == "-" ? read_stdin(kMaxText) : a.text;
  const TimelineSpan span("tokenize", SpanKind::kStage);
  if (a.decode) {
    const std::vector<llm::TokenId> ids = parse_ids(text);
    // decode() leaves out what it does not know, as the reference does; here it is a mistake.
    for (const llm::TokenId id : ids) (void)tokenizer->token_bytes(id);
    write_stdout(tokenizer->decode(ids, /*skip_special_tokens=*/false) + "\n");
    return 0;
  }
  const auto ids = a.specials ? tokenizer->encode_with_specials(text) : tokenizer->encode(text);
  write_stdout(fmt::format("{}\n", fmt::join(ids, " ")));
  return 0;
}

}  // namespace

void add_tokenize(CLI::App& app, Command& chosen) {
  CLI::App* sub = app.add_subcommand("tokenize", "text to token ids, and back with --decode");
  const auto a = std::make_shared<TokenizeArguments>();
  sub->add_option("TEXT", a->text, "the text, or the ids with --decode; - is standard input")
      ->required();
  a->model.add_to(*sub);
  sub->add_flag("--decode", a->decode, "TEXT is ids; print their text, special tokens included");
  sub->add_flag("--specials", a->specials,
                "special tokens that TEXT spells out become their ids (never so in a question)");
  sub->footer(
      "Examples:\n"
      "  reelm tokenize \"Hello world\"\n"
      "  reelm tokenize --decode \"9707 1879\" --model Qwen2-VL-2B-Instruct");
  sub->callback([a, &chosen] { chosen = [a] { return run_tokenize(*a); }; });
}

}  // namespace reelm::apps
