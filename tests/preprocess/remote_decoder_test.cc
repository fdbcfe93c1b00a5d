// What this process makes of a decoder's messages, whatever they say.
#include "preprocess/sandbox/remote_decoder.h"

#include <sys/socket.h>

#include <csignal>
#include <limits>
#include <thread>

#include "tests/preprocess/preprocess_testing.h"

namespace reelm::preprocess {
namespace {

using testing::error_of;

/// A decoder that was taken over: answers the first request with `answers`.
template <typename Fn>
Error against(std::vector<Message> answers, Fn&& use) {
  int ends[2];
  EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const Descriptor theirs(ends[1]);
  Limits limits;
  limits.frame_pixels = 10'000;
  const std::int64_t slot_bytes = frame_slot_bytes(limits);
  const Descriptor frames = make_memory_file(slot_bytes * 2, "frames");
  RemoteDecoder decoder(Descriptor{ends[0]}, frames, slot_bytes, "clip", limits);
  std::thread decoding([&] {  // a long message waits for its reader
    for (const Message& answer : answers) (void)send_message(theirs.get(), answer);
    ::shutdown(theirs.get(), SHUT_WR);
  });
  const Error error = error_of([&] { use(decoder); });
  ::shutdown(theirs.get(), SHUT_RDWR);
  decoding.join();
  return error;
}

template <typename... Values>
Message message(MessageKind kind, const Values&... values) {
  Message m{.kind = kind, .request = 1};
  WireWriter out(m);
  (out.put(values), ...);
  return m;
}

TEST(RemoteDecoder, BelievesNothing) {
  const auto opens = [](RemoteDecoder& d) { d.open(1, nullptr); };
  const auto indexes = [](RemoteDecoder& d) { d.frame_index(nullptr); };
  const auto reads = [](RemoteDecoder& d) {
    d.begin_frames({3}, {});
    d.next_frame(3, nullptr);
  };
  const auto ends = [](RemoteDecoder& d) {
    d.begin_frames({3}, {});
    std::vector<std::string> warnings;
    d.end_frames(nullptr, warnings);
  };
  const auto format = [](const Error& e) { return e.code() == ErrorCode::kFormat; };
  using Kind = MessageKind;
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const std::vector<double> times{0, 1}, falling{1, 0}, no_number{0, nan}, gap{0, nan, 1};
  const std::vector<std::int64_t> three_ticks{0, 1, 2};
  const std::vector<std::uint8_t> three_keys{1, 0, 0};
  const std::vector<std::int64_t> ticks{0, 1}, one_tick{0};
  const std::vector<std::uint8_t> keys{1, 0};
  const std::uint8_t no = 0;

  EXPECT_EQ(against({}, opens).code(), ErrorCode::kIo);  // gone
  EXPECT_TRUE(format(against({message(Kind::kInfo)}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kTable)}, opens)));
  EXPECT_TRUE(format(against({message(static_cast<Kind>(99))}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kInfo, 7)}, opens)));
  // A text, a list, a message longer than it is.
  EXPECT_TRUE(format(against({message(Kind::kInfo, 1, ~std::uint64_t{0})}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kTable, std::uint64_t{1} << 61)}, indexes)));
  EXPECT_TRUE(format(against({message(Kind::kInfo, std::vector<std::uint8_t>(5 << 20))}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kFailed, -1, std::string_view("x"))}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kFailed, 1, std::string_view())}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kDied, SIGSEGV)}, opens)));
  EXPECT_TRUE(format(against({message(Kind::kInfo, 1, std::string_view("mp4"), nan, 0.0, 0,
                                      ImageSizes{}, std::uint64_t{0})},
                             opens)));
  // No stream that could be the video.
  EXPECT_TRUE(format(against({message(Kind::kInfo, 1, std::string_view("mp4"), 0.0, 0.0, 0,
                                      ImageSizes{}, std::uint64_t{0})},
                             opens)));
  EXPECT_TRUE(format(against(
      {message(Kind::kTable, falling, ticks, keys, 2.0, 1.0, no, std::uint64_t{0})}, indexes)));
  EXPECT_TRUE(format(against(
      {message(Kind::kTable, no_number, ticks, keys, 2.0, 1.0, no, std::uint64_t{0})}, indexes)));
  EXPECT_TRUE(format(against(  // sorted, as NaN compares
      {message(Kind::kTable, gap, three_ticks, three_keys, 2.0, 1.0, no, std::uint64_t{0})},
      indexes)));
  EXPECT_TRUE(format(against(
      {message(Kind::kTable, times, one_tick, keys, 2.0, 1.0, no, std::uint64_t{0})}, indexes)));
  EXPECT_TRUE(format(against(
      {message(Kind::kTable, times, ticks, keys, nan, 1.0, no, std::uint64_t{0})}, indexes)));
  EXPECT_TRUE(
      format(against({message(Kind::kTable, std::vector<double>(), std::vector<std::int64_t>(),
                              std::vector<std::uint8_t>(), 0.0, 1.0, no, std::uint64_t{0})},
                     indexes)));
  const auto frame = [&](std::uint32_t slot, std::int64_t h, std::int64_t w, std::int64_t index) {
    FrameHeader header{};
    header.slot = slot;
    header.height = h;
    header.width = w;
    header.index = index;
    return format(against({message(Kind::kFrame, header)}, reads));
  };
  EXPECT_TRUE(frame(2, 10, 10, 3));
  EXPECT_TRUE(frame(0, 10, 10, 4));
  EXPECT_TRUE(frame(0, 0, 10, 3));
  EXPECT_TRUE(frame(0, 10, -10, 3));
  EXPECT_TRUE(frame(1, 101, 101, 3));
  EXPECT_TRUE(frame(1, std::int64_t{1} << 33, std::int64_t{1} << 33, 3));
  EXPECT_TRUE(format(against({message(Kind::kEnd)}, ends)));
  // Texts stay one line of a sane length.
  const auto warns = [](RemoteDecoder& d) {
    EXPECT_EQ(d.frame_index(nullptr).warnings, std::vector<std::string>{"a [2J"});
    throw Error(ErrorCode::kCancelled, "");
  };
  const std::vector<std::string> escape{"a\x1b[2J"};
  against({message(Kind::kTable, times, ticks, keys, 2.0, 1.0, no, escape)}, warns);
  const Error told = against(
      {message(Kind::kFailed, static_cast<int>(ErrorCode::kLimit), std::string(9000, '\n'))},
      opens);
  EXPECT_EQ(told.code(), ErrorCode::kLimit);
  EXPECT_EQ(std::string(told.what()), std::string(4093, ' ') + "...");
}

}  // namespace
}  // namespace reelm::preprocess
