// `reelm chat`: a conversation in the terminal, or through a pipe.
#include <unistd.h>

#include <memory>
#include <utility>

#include "apps/answer_options.h"
#include "apps/commands.h"
#include "apps/line_reader.h"
#include "apps/program.h"
#include "core/throw.h"

namespace reelm::apps {

namespace {

constexpr const char* kHelp =
    "A line is a question; the conversation so far is remembered.\n"
    "  /media FILE   a video or image for the next question; again for more than one\n"
    "  /help         this list\n"
    "  /quit         end, as Ctrl-D does\n"
    "A question that begins with / needs a space before it.\n";

struct ChatArguments {
  AnswerOptions options;
  std::int64_t context = 0;
};

bool is_blank(const std::string& text) {
  return text.find_first_not_of(" \t\r\n") == std::string::npos;
}

/// What the lines of standard input do.
class Conversation {
 public:
  Conversation(const AnswerOptions& options, pipeline::Engine& engine, std::int64_t context)
      : options_(options), engine_(engine), session_(engine, context) {}

  /// One line; false when it ends the conversation. An Error that leaves the conversation as it was
  /// before is told and not thrown.
  bool take(const std::string& line);

 private:
  /// A line that begins with a slash; false when it ends the conversation.
  bool command(const std::string& line);
  void attach(const std::string& file);
  void ask(const std::string& question);
  void write(std::string_view text);

  const AnswerOptions& options_;
  pipeline::Engine& engine_;
  pipeline::Session session_;
  std::vector<preprocess::MediaSource> media_;  // for the next question
  bool in_line_ = false;                        // an answer is not yet closed by a line break
  bool output_lost_ = false;
};

bool Conversation::take(const std::string& line) {
  try {
    if (line.starts_with('/')) return command(line);
    if (!is_blank(line)) ask(line);
  } catch (const Error& error) {
    if (error.code() == ErrorCode::kCancelled || output_lost_) throw;
    engine_.model().check_intact();  // no answer will come of weights that were lost
    if (in_line_) write("\n");
    say_error("reelm", error.what());
  }
  return true;
}

bool Conversation::command(const std::string& line) {
  const std::size_t space = line.find(' ');
  const std::string name = line.substr(0, space);
  const std::string argument = space == std::string::npos ? "" : line.substr(space + 1);
  if (name == "/media" && !is_blank(argument)) {
    attach(argument);
  } else if (name == "/help") {
    write(kHelp);
  } else if (name == "/quit") {
    return false;
  } else {
    throw_error(ErrorCode::kInvalidArgument,
                "'{}' is no command, expected /media FILE, /help or /quit", line);
  }
  return true;
}

void Conversation::attach(const std::string& file) {
  const auto source = preprocess::MediaSource::from_path(file);
  engine_.model().check_takes_media(source.name());
  source.check_exists();
  media_.push_back(source);
}

void Conversation::ask(const std::string& question) {
  // Given to this turn, even if it fails: a file that cannot be read would spoil all that follow.
  const std::vector<preprocess::MediaSource> media = std::exchange(media_, {});
  const bool first = session_.length() == 0;
  pipeline::Request request = options_.request(media, question, first ? options_.system : "");
  ProgressLine progress(!options_.quiet);
  show_progress(request, progress);
  request.on_text = [&](std::string_view piece) {
    progress.clear();
    write(piece);
    in_line_ = true;
    return true;
  };
  const pipeline::Answer answer = session_.ask(request);
  progress.clear();
  write("\n");
  options_.warn_all(answer.media);
}

void Conversation::write(std::string_view text) {
  in_line_ = false;
  output_lost_ = true;  // unless this returns
  write_stdout(text);
  output_lost_ = false;
}

int run_chat(const ChatArguments& a) {
  a.options.timeout.start();
  (void)a.options.sampling.options();  // a mistake is told before gigabytes of weights are read
  OpenEngine open = a.options.open();
  Conversation conversation(a.options, open.engine, a.context);
  LineReader input(a.options.model.limits.media_bytes);
  const bool terminal = ::isatty(STDIN_FILENO) == 1;
  while (true) {
    if (terminal) write_stdout("> ");
    const std::optional<std::string> line = input.next();
    if (!line && terminal) write_stdout("\n");
    if (!line || !conversation.take(*line)) return 0;
  }
}

}  // namespace

void add_chat(CLI::App& app, Command& chosen) {
  CLI::App* sub = app.add_subcommand(
      "chat", "a conversation: each line of standard input is a question, /help lists commands");
  const auto a = std::make_shared<ChatArguments>();
  a->options.add_to(*sub);
  sub->add_option("--context", a->context,
                  "tokens that the conversation may have (0: as many as the model can)")
      ->check(CLI::Range(std::int64_t{0}, std::int64_t{1} << 40))
      ->capture_default_str();
  sub->footer(
      "Examples:\n"
      "  reelm chat --model Qwen2.5-0.5B-Instruct\n"
      "  reelm chat --model Qwen2-VL-2B-Instruct     then: /media clip.mp4\n"
      "  printf 'What is 2 + 2?\\nAnd times 3?\\n' | reelm chat --model Qwen2.5-0.5B-Instruct");
  sub->callback([a, &chosen] { chosen = [a] { return run_chat(*a); }; });
}

}  // namespace reelm::apps
