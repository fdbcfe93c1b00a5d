// The per-token report: where the time of every token of one run went.
#pragma once

#include <string>

#include "bench/workload.h"

namespace reelm::bench {

/// Sums over tokens.
TokenTimes total(const std::vector<TokenTimes>& tokens);
/// Mean of all tokens but the first, whose time is the prompt's; zeros when there is no other.
TokenTimes average_of_increments(const std::vector<TokenTimes>& tokens);

/// SessionPreProcess, a line a token (InputGenerate, ModelTime, Sampling, TokenTime), the totals
/// and the average of the increments; milliseconds. Aligned, as CSV and as JSON.
std::string to_table(const PerToken& run);
std::string to_csv(const PerToken& run);
std::string to_json(const PerToken& run);

}  // namespace reelm::bench
