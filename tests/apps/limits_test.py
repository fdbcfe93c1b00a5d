"""Every limit has a flag, is kept, and is named in the error.

usage: limits_test.py REELM_PROGRAM SOURCE_DIR
"""
import re
import struct
import subprocess

from cli import CLIP, MEDIA, CliTest, main


def transport_stream_of_two():
    """A program of an H.264 and an MPEG audio stream, a packet of nothing each."""
    def packet(pid, payload, start=1):
        head = struct.pack(">BHB", 0x47, start << 14 | pid, 0x30)
        stuffing = 188 - 4 - 1 - len(payload)
        return head + bytes([stuffing]) + (b"\0" + b"\xff" * (stuffing - 1)) * (stuffing > 0) + payload

    def section(pid, table, number, body):
        data = struct.pack(">BHHBBB", table, 0xb000 | len(body) + 9, number, 0xc1, 0, 0) + body
        crc = 0xffffffff
        for byte in data:
            for bit in range(7, -1, -1):
                top = (crc >> 31) ^ (byte >> bit & 1)
                crc = (crc << 1 & 0xffffffff) ^ (0x04c11db7 if top else 0)
        return packet(pid, b"\0" + data + struct.pack(">I", crc))

    pat = section(0, 0, 1, struct.pack(">HH", 1, 0xe000 | 0x100))
    pmt = section(0x100, 2, 1, struct.pack(">HH", 0xe101, 0xf000) +
                  struct.pack(">BHH", 0x1b, 0xe101, 0xf000) + struct.pack(">BHH", 3, 0xe102, 0xf000))
    pes = b"\0\0\1\xe0\0\0\x80\0\0" + b"\0\0\1\x09\xf0" * 4
    return (pat + pmt + packet(0x101, pes) + packet(0x102, b"\0\0\1\xc0" + pes[4:])) * 8


class Limits(CliTest):
    """Every limit of `ask --help`: enforced, with its name in the error."""
    IMAGE = MEDIA / "square.png"
    # name: (value, media)
    CASES = {
        "frame-pixels": (1000, CLIP), "image-bytes": (1000, IMAGE), "decoded-bytes": (10_000, CLIP),
        "frames-considered": (10, CLIP), "frames-kept": (2, CLIP), "probe-bytes": (100, CLIP),
        "probe-seconds": (1e-9, CLIP), "stall-seconds": (1e-9, CLIP), "media-count": (1, CLIP, IMAGE),
        "prompt-tokens": (10, CLIP), "request-bytes": (1000, CLIP), "json-bytes": (100, CLIP),
        "json-depth": (1, CLIP), "tensor-count": (3, CLIP), "tensor-rank": (1, CLIP),
        "media-bytes": (1000, "-"), "streams": (1, None),
    }

    def test_all_of_them_are_in_the_help_with_a_default(self):
        found = dict(re.findall(r"--limit-([a-z-]+) \w+:POSITIVE=(\S+)", self.ok("ask", "--help")))
        self.assertEqual(sorted(found), sorted(self.CASES))
        self.assertEqual((found["frame-pixels"], found["probe-seconds"], found["stall-seconds"]),
                         ("16777216", "10", "30"))

    def test_each_is_enforced_and_named(self):
        two_streams = self.dir / "two.ts"
        two_streams.write_bytes(transport_stream_of_two())
        for name, (value, *media) in self.CASES.items():
            media = [two_streams] if media == [None] else media
            with open(CLIP, "rb") as file, subprocess.Popen(["cat"], stdin=file,
                                                            stdout=subprocess.PIPE) as cat:
                self.fails(1, "ask", f"--limit-{name}", value, *media, "?", stdin=cat.stdout,
                           says="limit " + name)

    def test_images_too(self):
        for name in ("decoded-bytes", "frame-pixels"):
            self.fails(1, "ask", f"--limit-{name}", 1000, self.IMAGE, "?", says="limit " + name)
        for image in ("square.png", "odd.jpg"):
            self.fails(1, "ask", "--limit-stall-seconds", "1e-9", MEDIA / image, "?",
                       says="limit stall-seconds")

    def test_text_is_refused_before_it_is_tokenised(self):
        self.fails(1, "ask", "--limit-prompt-tokens", 50, "x" * 10_000, says=("10000 bytes",
                                                                              "limit prompt-tokens"))


if __name__ == "__main__":
    main(__doc__)
