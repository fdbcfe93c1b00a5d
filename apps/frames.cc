// `reelm frames`: a contact sheet of exactly the frames the model would see.
#include <memory>

#include "apps/commands.h"
#include "apps/contact_sheet.h"
#include "apps/interrupt.h"
#include "apps/options.h"
#include "apps/output.h"
#include "core/throw.h"
#include "preprocess/patch_reader.h"

namespace reelm::apps {

namespace {

struct FramesArguments {
  std::string media;
  std::string output;
  ModelOptions model;
  SamplingArguments sampling;
  SandboxOption sandbox;
  std::int64_t columns = 0;
  std::int64_t tile_width = 0;
  bool quiet = false;
  TimeoutOption timeout;
};

int run_frames(const FramesArguments& a) {
  a.timeout.start();
  const preprocess::SamplingOptions sampling = a.sampling.options();
  check_writable(a.output);
  const auto config = preprocess::load_preprocessor_config(a.model.files(), a.model.limits);
  const CancelToken* cancel = &interrupt_token();
  const auto sandbox = a.sandbox.start();
  preprocess::Media media(preprocess::MediaSource::from_argument(a.media), a.model.limits, cancel,
                          sandbox.get());
  const preprocess::MediaPlan plan =
      preprocess::plan_media(media, config, sampling, a.model.limits, cancel);
  const auto per_slice = config.temporal_patch_size;
  // A still is doubled for the model; one picture of it is enough.
  const std::int64_t count = plan.is_image ? 1 : plan.grid_thw[0] * per_slice;
  ContactSheet sheet(count, plan.resized.height, plan.resized.width, a.columns, a.tile_width);
  preprocess::PatchReader reader(media, plan, config, a.model.limits, cancel);
  std::int64_t drawn = 0;
  for (PatchBatch slice; reader.next(slice);) {
    const TensorView<const std::uint8_t> frames = reader.frames();
    const std::vector<double> times = reader.frame_pts();
    for (std::int64_t i = 0; i < per_slice && drawn < count; ++i, ++drawn) {
      const TensorView<const std::uint8_t> frame(frames.row(i),
                                                 {plan.resized.height, plan.resized.width, 3});
      sheet.add(frame, plan.is_image ? "image" : format_time(times[static_cast<std::size_t>(i)]));
    }
  }
  const std::vector<std::byte> png = sheet.png();
  write_file(a.output, png);
  if (!a.quiet) {
    for (const std::string& warning : reader.warnings()) warn(warning);
  }
  write_stdout(fmt::format("{}: {} frames of {}x{}, grid {}x{}x{}, {} vision tokens\n", a.output,
                           count, plan.resized.width, plan.resized.height, plan.grid_thw[0],
                           plan.grid_thw[1], plan.grid_thw[2], plan.n_vision_tokens));
  return 0;
}

}  // namespace

void add_frames(CLI::App& app, Command& chosen) {
  CLI::App* sub = app.add_subcommand(
      "frames", "draw a contact sheet of the frames the model would see, each with its time");
  const auto a = std::make_shared<FramesArguments>();
  sub->add_option("MEDIA", a->media, "a video or image; - is standard input")->required();
  sub->add_option("-o,--output", a->output, "the PNG to write")->required();
  a->model.add_to(*sub);
  a->sampling.add_to(*sub);
  a->sandbox.add_to(*sub);
  sub->add_option("--columns", a->columns, "tiles in a row (0: a sheet about as wide as high)")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  sub->add_option("--tile-width", a->tile_width, "pixels a frame is drawn wide (0: up to 320)")
      ->check(CLI::Range(0, 8192))
      ->capture_default_str();
  a->timeout.add_to(*sub);
  sub->add_flag("-q,--quiet", a->quiet, "no warnings");
  sub->footer(
      "Examples:\n"
      "  reelm frames clip.mp4 -o sheet.png\n"
      "  reelm frames --fps 0.5 --from 10:00 film.mkv -o sheet.png --columns 8");
  sub->callback([a, &chosen] { chosen = [a] { return run_frames(*a); }; });
}

}  // namespace reelm::apps
