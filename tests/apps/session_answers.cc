// What `reelm chat` is compared with: the answers of one pipeline::Session, a line each.
// usage: session_answers MODEL_DIR [@MEDIA... QUESTION]...
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "pipeline/engine.h"

int main(int argc, char** argv) try {
  using namespace reelm;
  pipeline::Engine engine = pipeline::Engine::open(argc > 1 ? argv[1] : "");
  pipeline::Session session(engine);
  std::vector<preprocess::MediaSource> media;
  for (int i = 2; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument.starts_with('@')) {
      media.push_back(preprocess::MediaSource::from_path(argument.substr(1)));
      continue;
    }
    std::printf("%s\n", session.ask(pipeline::Request::question(media, argument)).text.c_str());
    media.clear();
  }
  return 0;
} catch (const std::exception& error) {
  std::fprintf(stderr, "session_answers: %s\n", error.what());
  return 1;
}
