#include "bench/per_token.h"

#include <fmt/format.h>

#include "core/json.h"

namespace reelm::bench {

namespace {

template <typename Each>
void for_each_line(const PerToken& run, Each&& each) {
  for (std::size_t i = 0; i < run.tokens.size(); ++i) each(std::to_string(i), run.tokens[i]);
  each("total", total(run.tokens));
  each("average of the increments", average_of_increments(run.tokens));
}

Json json_of(const TokenTimes& t) {
  return {{"input_generate_ms", t.input_generate},
          {"model_ms", t.model},
          {"sampling_ms", t.sampling},
          {"token_ms", t.token}};
}

}  // namespace

TokenTimes total(const std::vector<TokenTimes>& tokens) {
  TokenTimes sum;
  for (const TokenTimes& t : tokens) {
    sum.input_generate += t.input_generate;
    sum.model += t.model;
    sum.sampling += t.sampling;
    sum.token += t.token;
  }
  return sum;
}

TokenTimes average_of_increments(const std::vector<TokenTimes>& tokens) {
  if (tokens.size() < 2) return {};
  const TokenTimes sum = total({tokens.begin() + 1, tokens.end()});
  const auto n = static_cast<double>(tokens.size() - 1);
  return {sum.input_generate / n, sum.model / n, sum.sampling / n, sum.token / n};
}

std::string to_table(const PerToken& run) {
  std::string out = fmt::format(
      "SessionPreProcess {:.3f} ms\n\n{:<25} {:>13} {:>12} {:>12} {:>12}\n",
      run.session_preprocess_ms, "token", "InputGenerate", "ModelTime", "Sampling", "TokenTime");
  for_each_line(run, [&](const std::string& name, const TokenTimes& t) {
    out += fmt::format("{:<25} {:>13.4f} {:>12.3f} {:>12.3f} {:>12.3f}\n", name, t.input_generate,
                       t.model, t.sampling, t.token);
  });
  return out;
}

std::string to_csv(const PerToken& run) {
  std::string out = "Token,InputGenerate(ms),ModelTime(ms),Sampling(ms),TokenTime(ms)\n";
  out += fmt::format("SessionPreProcess,,,,{}\n", run.session_preprocess_ms);
  for_each_line(run, [&](const std::string& name, const TokenTimes& t) {
    out += fmt::format("{},{},{},{},{}\n", name, t.input_generate, t.model, t.sampling, t.token);
  });
  return out;
}

std::string to_json(const PerToken& run) {
  Json tokens = Json::array();
  for (const TokenTimes& t : run.tokens) tokens.push_back(json_of(t));
  const Json out = {{"session_preprocess_ms", run.session_preprocess_ms},
                    {"tokens", tokens},
                    {"total", json_of(total(run.tokens))},
                    {"average_of_increments", json_of(average_of_increments(run.tokens))}};
  return out.dump(2) + "\n";
}

}  // namespace reelm::bench
