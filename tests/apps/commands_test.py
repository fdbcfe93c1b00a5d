"""The other commands: info, frames, tokenize, verify, help.

usage: commands_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import struct
import subprocess

from cli import CLIP, DEMO, GOLDEN, KINDS, MEDIA, SOURCE, CliTest, run, main


class Info(CliTest):
    def test_media(self):
        out = json.loads(self.ok("info", "--json", CLIP))
        self.assertEqual((out["frames"], out["fps"]), (72, 24.0))
        self.assertEqual(len(out["pts"]), 72)
        self.assertAlmostEqual(out["duration_seconds"], 3.0)
        video = out["streams"][out["video_stream"]]
        self.assertEqual((video["codec"], video["width"], video["height"]), ("h264", 336, 252))
        text = self.ok("info", CLIP)
        for word in ("h264", "336x252", "72", "duration: 3 s"):
            self.assertIn(word, text)
        self.assertEqual(json.loads(self.ok("info", "--json", MEDIA / "rotated.mp4"))["kind"], "video")
        self.assertIn("rotation", self.ok("info", MEDIA / "rotated.mp4"))
        self.assertIn("image", self.ok("info", MEDIA / "odd.jpg"))
        for clip, words in (("cover.mp4", ("an attached picture",)), ("interlaced.mp4", ("interlaced",)),
                            ("hdr_hlg.mp4", ("HDR", "arib-std-b67")), ("moving.webp", ("video: webp", "frames: 6")),
                            ("aspect_wide.mp4", ("sample aspect ratio 2", "--square-pixels"))):
            for word in words:
                self.assertIn(word, self.ok("info", KINDS / clip))

    def test_model(self):
        out = json.loads(self.ok("info", "--json", DEMO))
        self.assertEqual(out["model_type"], "qwen2_vl")
        elements = sum(__import__("math").prod(t["shape"]) for t in out["tensors"])
        self.assertEqual(out["parameters"], elements)
        self.assertEqual(out["memory_bytes"], {"f32": elements * 4, "bf16": elements * 2})
        self.assertIn("BF16", self.ok("info", DEMO, "--tensors"))

    def test_bad_input(self):
        self.fails(1, "info", self.dir / "none", says="none")
        self.fails(1, "info", self.dir, says="config.json")


class Frames(CliTest):
    def test_sheet(self):
        sheet = self.dir / "sheet.png"
        out = self.ok("frames", CLIP, "-o", sheet)
        self.assertIn("6 frames", out)
        data = sheet.read_bytes()
        self.assertEqual(data[:8], b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", data[16:24])
        self.assertGreater(width * height, 6 * 112 * 84)  # six frames as the model sees them
        self.ok("frames", MEDIA / "square.png", "-o", sheet)
        wide = self.ok("frames", "--square-pixels", KINDS / "aspect_wide.mp4", "-o", sheet)
        self.assertNotEqual(wide, self.ok("frames", KINDS / "aspect_wide.mp4", "-o", sheet))

    def test_bad_input(self):
        self.fails(2, "frames", CLIP)
        self.fails(1, "frames", CLIP, "-o", self.dir / "no" / "sheet.png", says="sheet.png")
        self.fails(1, "frames", CLIP, "-o", self.dir, says="directory")
        self.fails(1, "frames", self.dir / "none.mp4", "-o", self.dir / "x.png", says="none.mp4")
        self.assertEqual(list(self.dir.iterdir()), [], "nothing may be left behind")


class Tokenize(CliTest):
    def test_round_trip(self):
        for text in ("Which direction does the red circle move?", "Grüße, 世界! 👋🏽", " two  spaces\n"):
            ids = self.ok("tokenize", text).strip()
            self.assertEqual(self.ok("tokenize", "--decode", ids), text + "\n")
        with subprocess.Popen(["printf", "red circle"], stdout=subprocess.PIPE) as text:
            self.assertEqual(self.ok("tokenize", "-", stdin=text.stdout),
                             self.ok("tokenize", "red circle"))
        self.assertEqual(self.ok("tokenize", "--specials", "<|im_end|>"), "1012\n")

    def test_bad_input(self):
        self.fails(2, "tokenize", "--decode", "12x", says="12x")
        self.fails(2, "tokenize", "--decode", "99999999", says="99999999")
        self.fails(2, "tokenize", "--decode", "-- -1")
        self.fails(2, "tokenize")


class Verify(CliTest):
    def test_a_golden_holds(self):
        out = self.ok("verify", GOLDEN)
        self.assertIn("every bound holds", out)
        self.assertIn("greedy tokens", out)

    def test_layers(self):
        golden = SOURCE / "tests" / "goldens" / "demo_layers.safetensors"
        out = self.ok("verify", "--layers", golden)
        for part in ("vision", "decoder"):
            for layer in range(4):
                self.assertRegex(out, rf"(?m)^{part} layer {layer} .* pass$")
        self.fails(1, "verify", "--layers", GOLDEN, says="make_golden.py --layers")

    def test_a_broken_bound_is_exit_1(self):
        data = bytearray(GOLDEN.read_bytes())
        length = struct.unpack("<Q", data[:8])[0]
        header = json.loads(data[8:8 + length])
        begin = 8 + length + header["logits"]["data_offsets"][0]
        data[begin:begin + 4] = struct.pack("<f", 1e4)
        bad = self.dir / "bad.safetensors"
        # The media are named relative to the golden.
        bad_dir = self.dir / "tests" / "goldens"
        bad_dir.mkdir(parents=True)
        bad = bad_dir / "bad.safetensors"
        bad.write_bytes(data)
        code, out, _ = run("verify", bad, "--model", DEMO, "--media", CLIP)
        self.assertEqual(code, 1)
        self.assertIn("FAIL", out)
        struct.pack_into("<f", data, begin, float("nan"))
        bad.write_bytes(data)
        self.assertEqual(run("verify", bad, "--model", DEMO, "--media", CLIP)[0], 1)

    def test_bad_input(self):
        self.fails(1, "verify", self.dir / "none.safetensors", says="none.safetensors")
        self.fails(1, "verify", DEMO / "model.safetensors", says="golden")
        self.fails(1, "verify", CLIP, says="sample.mp4")
        self.fails(2, "verify", GOLDEN, "--media", CLIP, "--media", CLIP, says="media")


class Help(CliTest):
    def test_every_help_has_examples(self):
        for command in ((), ("ask",), ("info",), ("convert",), ("frames",), ("tokenize",), ("verify",)):
            self.assertIn("xample", self.ok(*command, "--help"))
        self.assertRegex(self.ok("--version"), r"^reelm \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    main(__doc__)
