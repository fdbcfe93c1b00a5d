// Asks a model about a video, or an image: ask MODEL_DIR VIDEO QUESTION
#include <reelm/pipeline/engine.h>

#include <cstdio>

int main(int argc, char** argv) {
  if (argc != 4) {
    std::fprintf(stderr, "usage: ask MODEL_DIR VIDEO QUESTION\n");
    return 2;
  }
  try {
    auto engine = reelm::pipeline::Engine::open(argv[1]);
    const auto video = reelm::preprocess::MediaSource::from_path(argv[2]);
    const auto answer = engine.ask(reelm::pipeline::Request::question({video}, argv[3]));
    std::printf("%s\n", answer.text.c_str());
  } catch (const reelm::Error& error) {
    std::fprintf(stderr, "ask: %s\n", error.what());
    return 1;
  }
  return 0;
}
