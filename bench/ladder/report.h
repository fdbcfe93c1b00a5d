// The ladder as a table, CSV and JSON.
#pragma once

#include <string>
#include <vector>

#include "bench/ladder/climb.h"
#include "bench/ladder/preprocessing.h"
#include "bench/report.h"

namespace reelm::bench {

/// What was climbed, and with what.
struct LadderFacts {
  Machine machine;
  std::string model;
  std::string dtype;         ///< of the decoder, but in the last rung
  std::string vision_dtype;  ///< of the vision tower, but in the last rung
  std::string media;         ///< empty: made-up patches
  std::string question;      ///< empty: made-up text
  GridThw grid{};
  std::int64_t prompt_tokens = 0, vision_tokens = 0, new_tokens = 0;
  int repeat = 0;
  int first_rung = 0;
};

LadderFacts facts_of(const LadderModel& ladder, const LadderWork& work,
                     const LadderOptions& options);

/// What comes before the rows, a row, and what comes behind them: rows are printed as they are
/// done.
std::string ladder_table_head(const LadderFacts& facts);
std::string to_table(const LadderRow& row);
std::string to_table(const PreprocessingTimes& times);

std::string ladder_csv_head();
std::string to_csv(const LadderRow& row);
std::string to_csv(const PreprocessingTimes& times);

std::string to_json(const LadderFacts& facts, const std::vector<LadderRow>& rows,
                    const PreprocessingTimes& times);

}  // namespace reelm::bench
