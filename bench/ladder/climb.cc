#include "bench/ladder/climb.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "bench/clock.h"
#include "core/timeline.h"

namespace reelm::bench {

namespace {

/// One number a turn.
struct RungSamples {
  std::vector<double> prompt_ms;
  std::vector<double> decode_ms;
  double difference = 0.0;

  double total(std::size_t turn) const { return prompt_ms[turn] + decode_ms[turn]; }
  /// Keeps the largest; a NaN stays.
  void see_difference(double d) {
    if (!(d <= difference) && !std::isnan(difference)) difference = d;
  }
};

LadderRow make_row(int rung, const RungSamples& samples, const RungSamples* before,
                   std::int64_t new_tokens) {
  LadderRow row;
  row.rung = rung;
  row.prompt_ms = median(samples.prompt_ms);
  row.token_ms = median(samples.decode_ms) / static_cast<double>(new_tokens);
  row.least_prompt_ms = std::ranges::min(samples.prompt_ms);
  row.least_token_ms = std::ranges::min(samples.decode_ms) / static_cast<double>(new_tokens);
  row.max_relative_difference = samples.difference;
  if (before != nullptr) {
    std::vector<double> gains;
    for (std::size_t turn = 0; turn < samples.prompt_ms.size(); ++turn) {
      gains.push_back(before->total(turn) / samples.total(turn));
    }
    row.gain = median(std::move(gains));
  }
  return row;
}

}  // namespace

RungRun run_rung(RungModel& rung, const pipeline::Model& model, const LadderWork& work,
                 std::vector<llm::TokenId>& tokens) {
  const std::int64_t n = work.prompt_tokens(), vocabulary = model.decoder->vocab_size();
  const std::int64_t hidden = model.decoder->hidden_size();
  RungRun out;
  out.logits = AlignedBuffer<float>(static_cast<std::size_t>((1 + work.new_tokens) * vocabulary));
  AlignedBuffer<float> embeds(static_cast<std::size_t>(work.vision_tokens * hidden));
  const auto logits_of = [&](std::int64_t i) {
    return TensorView<float>(out.logits.data() + i * vocabulary, {vocabulary});
  };
  {
    const TimelineSpan span("vit+prefill", SpanKind::kStage);
    const auto begin = Clock::now();
    const TensorView<float> rows(embeds.data(), {work.vision_tokens, hidden});
    rung.encode(work.patches(model.vision->patch_dim()), rows);
    rung.prefill({work.prompt.ids, {work.prompt.positions.ids.data(), {3, n}}, rows}, logits_of(0));
    out.prompt_ms = ms_since(begin);
  }
  for (std::int64_t i = 0; i < work.new_tokens; ++i) {
    if (i == std::ssize(tokens)) {
      const float* last = logits_of(i).data();
      tokens.push_back(static_cast<llm::TokenId>(std::max_element(last, last + vocabulary) - last));
    }
    const TimelineSpan span("decode_token", SpanKind::kStage);
    const auto begin = Clock::now();
    rung.step(tokens[static_cast<std::size_t>(i)], n + work.prompt.positions.rope_delta + i,
              logits_of(i + 1));
    out.decode_ms += ms_since(begin);
  }
  return out;
}

double max_relative_difference(const AlignedBuffer<float>& a, const AlignedBuffer<float>& b) {
  REELM_CHECK(a.size() == b.size());
  double largest = 0.0, difference = 0.0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    const double d = std::abs(static_cast<double>(a[i]) - b[i]);
    if (std::isnan(d)) return std::numeric_limits<double>::quiet_NaN();
    largest = std::max(largest, std::abs(static_cast<double>(a[i])));
    difference = std::max(difference, d);
  }
  return difference == 0.0 ? 0.0 : difference / largest;
}

void climb(LadderModel& ladder, const LadderWork& work, int first_rung, int repeat,
           const std::function<void(const LadderProgress&)>& on_run,
           const std::function<void(const LadderRow&)>& on_row) {
  std::vector<std::unique_ptr<RungModel>> rungs;
  for (int rung = first_rung; rung < kRungs; ++rung) {
    rungs.push_back(ladder.rung(rung, work.prompt_tokens() + work.new_tokens));
  }
  std::vector<RungSamples> samples(rungs.size());
  std::vector<llm::TokenId> tokens;
  AlignedBuffer<float> reference;
  for (int turn = 0; turn < repeat; ++turn) {
    for (std::size_t i = 0; i < rungs.size(); ++i) {
      const int number = first_rung + static_cast<int>(i);
      const TimelineSpan span("rung", SpanKind::kStage, {"rung", number});
      RungRun run = run_rung(*rungs[i], ladder.model(), work, tokens);
      if (reference.size() == 0) {
        reference = std::move(run.logits);
      } else {
        samples[i].see_difference(max_relative_difference(reference, run.logits));
      }
      samples[i].prompt_ms.push_back(run.prompt_ms);
      samples[i].decode_ms.push_back(run.decode_ms);
      on_run({number, turn, run.prompt_ms, run.decode_ms / static_cast<double>(work.new_tokens)});
      if (turn + 1 == repeat) {
        on_row(make_row(number, samples[i], i == 0 ? nullptr : &samples[i - 1], work.new_tokens));
      }
    }
  }
}

}  // namespace reelm::bench
