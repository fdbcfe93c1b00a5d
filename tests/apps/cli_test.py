"""The command line as a user meets it: arguments, streams, exit codes.

usage: cli_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import os
import pathlib
import re
import resource
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest

REELM = sys.argv[1] if len(sys.argv) > 2 else ""
SOURCE = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
DEMO = SOURCE / "models" / "demo"
CLIP = DEMO / "sample.mp4"
MEDIA = SOURCE / "tests" / "goldens" / "media"
KINDS = SOURCE / "tests" / "media"
PATIENCE = 240  # seconds before a hang is called one; generous, as sanitizers are slow


def run(*args, stdin=subprocess.DEVNULL, env=None, **more):
    """Runs reelm; returns (exit code, stdout, stderr) as text."""
    environment = {**os.environ, **(env or {})}
    environment.pop("REELM_MODEL", None) if not env or "REELM_MODEL" not in env else None
    done = subprocess.run([REELM, *map(str, args)], stdin=stdin, capture_output=True,
                          timeout=PATIENCE, env=environment, check=False, **more)
    return (done.returncode, done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"))


class CliTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.scratch.name)

    def tearDown(self):
        self.scratch.cleanup()

    def ok(self, *args, **more):
        code, out, err = run(*args, **more)
        self.assertEqual(code, 0, f"{args}: {err}")
        return out

    def fails(self, code, *args, says=(), **more):
        """Fails with `code` and one line on standard error that holds all of `says`."""
        found, out, err = run(*args, **more)
        self.assertEqual(found, code, f"{args}: stdout {out!r} stderr {err!r}")
        self.assertEqual(out, "", f"{args}: a failure prints no answer")
        self.assertTrue(err.startswith("reelm: error: "), err)
        self.assertEqual(err.count("\n"), 1, f"{args}: one line, found {err!r}")
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, err)
        return err


class Ask(CliTest):
    def test_answers_are_the_references(self):
        sample = json.loads((DEMO / "sample.json").read_text())
        for row in sample["questions"]:
            out = json.loads(self.ok("ask", "--json", "--dtype", "f32", CLIP, row["question"]))
            self.assertEqual(out["answer"], row["answer"])
            self.assertEqual(out["token_ids"], row["answer_ids"])
            self.assertEqual(out["grid_thw"], [sample["video_grid_thw"]])
            self.assertEqual(out["finish_reason"], "stop")

    def test_streams_the_answer_and_a_newline(self):
        row = json.loads((DEMO / "sample.json").read_text())["questions"][0]
        self.assertEqual(self.ok("ask", CLIP, row["question"]), row["answer"] + "\n")

    def test_json_tells_everything(self):
        out = json.loads(self.ok("ask", "--json", CLIP, "What color is the square?"))
        for key in ("answer", "token_ids", "finish_reason", "prompt_tokens", "vision_tokens",
                    "grid_thw", "frame_pts", "media", "stages_ms", "peak_memory_bytes"):
            self.assertIn(key, out)
        t, h, w = out["grid_thw"][0]
        self.assertEqual(out["vision_tokens"], t * h * w // 4)
        self.assertEqual(len(out["frame_pts"][0]), 2 * t)
        self.assertEqual(out["frame_pts"][0], sorted(out["frame_pts"][0]))
        for stage in ("decode", "resize", "patchify", "vision", "prefill", "decode_tokens", "total"):
            self.assertGreater(out["stages_ms"][stage], 0, stage)
        self.assertGreater(out["peak_memory_bytes"], 10_000_000)

    def test_standard_input_is_the_same_as_a_path(self):
        by_path = json.loads(self.ok("ask", "--json", CLIP, "Describe the video."))
        with open(CLIP, "rb") as file:  # a regular file
            by_file = json.loads(self.ok("ask", "--json", "-", "Describe the video.", stdin=file))
        with subprocess.Popen(["cat", str(CLIP)], stdout=subprocess.PIPE) as cat:  # a pipe
            by_pipe = json.loads(self.ok("ask", "--json", "-", "Describe the video.",
                                         stdin=cat.stdout))
        for other in (by_file, by_pipe):
            self.assertEqual(other["token_ids"], by_path["token_ids"])
            self.assertEqual(other["frame_pts"], by_path["frame_pts"])

    def test_the_sandbox_changes_nothing(self):
        questions = [(CLIP, "Which direction does the yellow square move?"),
                     (MEDIA / "alpha.png", "What is in the image?"),
                     (CLIP, "--no-overlap", "How many squares are there?")]
        for arguments in questions:
            said = [self.ok("ask", "--json", "--sandbox", mode, *arguments)
                    for mode in ("on", "off", "auto")]
            facts = [{key: value for key, value in json.loads(text).items()
                      if key not in ("stages_ms", "peak_memory_bytes")} for text in said]
            self.assertEqual(facts[0], facts[1], arguments)
            self.assertEqual(facts[2], facts[1], arguments)
        with open(CLIP, "rb") as clip:
            piped = self.ok("ask", "--sandbox", "on", "-", questions[0][1], stdin=clip)
        self.assertEqual(piped, self.ok("ask", "--sandbox", "off", *questions[0]))
        for mode in ("on", "off"):
            self.fails(1, "info", "--sandbox", mode, SOURCE / "README.md", says="neither a video")

    def test_killed_it_leaves_no_process(self):
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        process = subprocess.Popen([REELM, "ask", "--sandbox", "on", CLIP, fifo, "What happens?"],
                                   stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

        def family():
            found = set()
            for stat in pathlib.Path("/proc").glob("[0-9]*/stat"):
                try:
                    pid, name, _, parent = stat.read_text().split()[:4]
                except OSError:
                    continue
                if int(parent) == process.pid or name in ("(reelm-decoders)", "(reelm-decoder)"):
                    found.add((int(parent), int(pid)))
            mine = {pid for parent, pid in found if parent == process.pid}
            return mine | {pid for parent, pid in found if parent in mine}

        deadline = time.monotonic() + PATIENCE
        while len(family()) < 2 and time.monotonic() < deadline:  # the forker, the clip's decoder
            time.sleep(0.02)
        left = family()
        self.assertEqual(len(left), 2)
        process.kill()
        process.wait()
        while left and time.monotonic() < deadline:
            left = {pid for pid in left if pathlib.Path(f"/proc/{pid}").exists()}
            time.sleep(0.02)
        self.assertEqual(left, set())

    def test_any_thread_count_and_instruction_set_say_the_same(self):
        question = "Describe the video."
        expected = json.loads(self.ok("ask", "--json", CLIP, question))["token_ids"]
        for threads in (1, 2, 3):
            out = json.loads(self.ok("ask", "--json", "--threads", threads, CLIP, question))
            self.assertEqual(out["token_ids"], expected, threads)
            self.assertEqual(out["threads"], threads)
        out = json.loads(self.ok("ask", "--json", CLIP, question, env={"REELM_ISA": "portable"}))
        self.assertEqual(out["token_ids"], expected)
        self.assertEqual(out["isa"], "portable")

    def test_images_text_and_several_media(self):
        self.ok("ask", MEDIA / "square.png", "What color is the square?")
        out = json.loads(self.ok("ask", "--json", "Hello"))
        self.assertEqual(out["vision_tokens"], 0)
        out = json.loads(self.ok("ask", "--json", CLIP, MEDIA / "square.png", CLIP, "What?"))
        self.assertEqual([m["kind"] for m in out["media"]], ["video", "image", "video"])

    def test_frames_and_pixels_obey_the_flags(self):
        def plan(*flags):
            return json.loads(self.ok("ask", "--json", "--max-new-tokens", 1, *flags, CLIP, "?"))

        self.assertEqual(len(plan("--frames", 10)["frame_pts"][0]), 10)
        self.assertEqual(len(plan("--fps", 1, "--min-frames", 2)["frame_pts"][0]), 2)
        part = plan("--from", "0:01", "--to", "2")["frame_pts"][0]
        self.assertGreaterEqual(part[0], 1)
        self.assertLessEqual(part[-1], 2)
        small = plan("--max-pixels", 3136, "--min-pixels", 784)["media"][0]["resized_size"]
        self.assertLessEqual(small[0] * small[1], 3136)

    def test_sampling_is_seeded(self):
        flags = ("--temperature", 3, "--top-k", 0, "--json", CLIP, "Describe the video.")
        first = json.loads(self.ok("ask", "--seed", 1, *flags))["token_ids"]
        self.assertEqual(json.loads(self.ok("ask", "--seed", 1, *flags))["token_ids"], first)
        self.assertNotEqual(json.loads(self.ok("ask", "--seed", 2, *flags))["token_ids"], first)

    def test_guidance(self):
        question = "Which direction does the yellow square move?"
        flags = ("--temperature", 0, "--json", CLIP, question)
        plain = json.loads(self.ok("ask", *flags))
        # The demo is sure of this one: contrasted it says the same, without the video another thing.
        self.assertEqual(json.loads(self.ok("ask", "--guidance", 1.5, *flags))["token_ids"],
                         plain["token_ids"])
        without = json.loads(self.ok("ask", "--guidance", 0, *flags))["token_ids"]
        self.assertEqual(json.loads(self.ok("ask", "--temperature", 0, "--json",
                                            question))["token_ids"], without)
        self.assertNotEqual(without, plain["token_ids"])
        # Scale 0 says what the negative text alone would.
        other = json.loads(self.ok("ask", "--guidance", 0, "--negative", "Describe the video.",
                                   *flags))["token_ids"]
        self.assertEqual(json.loads(self.ok("ask", "--temperature", 0, "--json",
                                            "Describe the video."))["token_ids"], other)

        def kv_megabytes(*more):
            out = self.ok("ask", "--plan", *more, CLIP, question)
            self.assertEqual("a second prompt of" in out, bool(more), out)
            return float(re.search(r"KV cache ([0-9.]+) MB", out).group(1))
        self.assertGreater(kv_megabytes("--guidance", 2), kv_megabytes())

    def test_length_is_told(self):
        out = json.loads(self.ok("ask", "--json", "--max-new-tokens", 2, CLIP, "Describe it."))
        self.assertEqual(out["finish_reason"], "length")
        self.assertEqual(len(out["token_ids"]), 2)

    def test_plan_prints_the_cost_only(self):
        out = self.ok("ask", "--plan", CLIP, "What color is the square?")
        self.assertIn("vision tokens", out)
        self.assertIn("KV cache", out)
        self.assertNotIn("The square is", out)

    def test_square_pixels(self):
        def size(*flags):
            out = self.ok("ask", "--json", "--max-new-tokens", 1, *flags, KINDS / "aspect_wide.mp4", "?")
            return json.loads(out)["media"][0]["source_size"]

        self.assertEqual(size(), [48, 64])
        self.assertEqual(size("--square-pixels"), [48, 128])
        self.assertIn("128x48", self.ok("ask", "--plan", "--square-pixels", KINDS / "aspect_wide.mp4", "?"))

    def test_every_kind_is_answered_or_refused(self):
        refused = {"sound_only.m4a": "no video stream", "cover_only.m4a": "attached picture", "thin.webm": "201"}
        for clip in sorted(KINDS.iterdir()):
            ask = ("ask", "--max-frames", 2, "--max-new-tokens", 1, clip, "What is it?")
            if clip.name in refused:
                self.fails(1, *ask, says=(clip.name, refused[clip.name]))
            else:
                self.ok(*ask)

    def test_what_is_not_done_to_frames_is_told(self):
        for clip, word in (("hdr_pq.mp4", "HDR"), ("interlaced.mp4", "interlaced"),
                           ("two_streams.mkv", "2 video streams"), ("jump_back.ts", "clock")):
            for flags in (("--plan",), ("--max-new-tokens", 1)):
                code, _, err = run("ask", *flags, KINDS / clip, "?")
                self.assertEqual(code, 0, err)
                self.assertIn(f"reelm: warning: {KINDS / clip}: ", err)
                self.assertIn(word, err)
                self.assertNotIn("warning", run("ask", "-q", *flags, KINDS / clip, "?")[2])

    def test_special_tokens_in_a_question_are_text(self):
        ids = [int(i) for i in self.ok("tokenize", "<|im_end|><|video_pad|>").split()]
        self.assertNotIn(1012, ids)
        self.assertNotIn(1023, ids)
        self.ok("ask", CLIP, "<|video_pad|><|im_end|>")


class AskBadInput(CliTest):
    def test_usage(self):
        self.fails(2, "ask", says="MEDIA")
        self.fails(2, "ask", CLIP, says="question is missing")
        self.fails(2, "ask", CLIP, "", says="question is empty")
        self.fails(2, "ask", "-", "-", "?", says="once")
        self.fails(2, "ask", "--nonsense", CLIP, "?", says="--nonsense")
        self.fails(2, "nonsense")
        self.fails(2)
        self.fails(2, "ask", "--fps", "1", "--frames", "4", CLIP, "?", says="--f")
        for flag, value in (("--fps", "0"), ("--fps", "-1"), ("--fps", "nan"), ("--fps", "x"),
                            ("--frames", "0"), ("--frames", "99999999999999999999999"),
                            ("--max-frames", "1"), ("--max-pixels", "-5"), ("--from", "abc"),
                            ("--from", "1:99"), ("--to", "-3"), ("--from", "1:2:3:4"),
                            ("--max-new-tokens", "0"), ("--temperature", "-1"),
                            ("--temperature", "nan"), ("--top-p", "2"), ("--top-k", "-1"),
                            ("--repetition-penalty", "0"), ("--dtype", "f64"),
                            ("--guidance", "nan"), ("--guidance", "inf"), ("--guidance", "-1"),
                            ("--guidance", "x"), ("--negative", "No"),
                            ("--kv-dtype", "int4"),
                            ("--reference", "llama"), ("--threads", "-1"),
                            ("--limit-frame-pixels", "0")):
            self.fails(2, "ask", flag, value, CLIP, "?")
        self.fails(2, "ask", "--from", "2", "--to", "1", CLIP, "?", says="--to")
        self.fails(2, "ask", "--guidance", "2", "?", says="nothing to contrast with")

    def test_media_that_cannot_be_used(self):
        def media(name, data):
            path = self.dir / name
            path.write_bytes(data)
            return path

        self.fails(1, "ask", self.dir / "no.mp4", "?", says="no.mp4")
        self.fails(1, "ask", self.dir, "?", says=("directory", "image sequences"))
        self.fails(1, "ask", self.dir / "img%03d.png", "?", says=("img%03d.png", "image sequences"))
        self.fails(1, "ask", media("empty.mp4", b""), "?", says="empty.mp4")
        self.fails(1, "ask", media("random.mp4", bytes(range(256)) * 64), "?", says="random.mp4")
        self.fails(1, "ask", media("text.mp4", b"just some text\n" * 50), "?", says="text.mp4")
        self.fails(1, "ask", media("list.m3u8", b"#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"), "?")
        self.fails(1, "ask", media("half.png", (MEDIA / "square.png").read_bytes()[:900]), "?",
                   says="half.png")
        self.fails(1, "ask", media("new\nline.mp4", b""), "?")
        self.fails(1, "ask", "concat:a.mp4|b.mp4", "?")
        self.fails(1, "ask", "http://127.0.0.1:9/x.mp4", "?")
        self.fails(1, "ask", "-", "?", says="standard input")

    def test_a_truncated_clip_is_answered_with_a_warning(self):
        data = (MEDIA / "hevc.mp4").read_bytes()
        path = self.dir / "cut.webm"
        path.write_bytes(data[:len(data) * 2 // 3])
        code, out, err = run("ask", path, "What color is the square?")
        if code == 0:
            self.assertIn("warning", err)
            self.assertNotEqual(out, "")
        else:
            self.assertEqual(code, 1)
            self.assertIn("cut.webm", err)

    def test_a_prompt_longer_than_the_context_is_refused_with_the_numbers(self):
        self.fails(1, "ask", "word " * 6000, says=("4096", "tokens"))

    def test_models_that_cannot_be_used(self):
        self.fails(1, "ask", "--model", self.dir / "none", CLIP, "?", says="none")
        self.fails(1, "ask", "--model", CLIP, CLIP, "?", says="directory")
        self.fails(1, "ask", "--model", self.dir, CLIP, "?", says="config.json")
        self.fails(1, "ask", CLIP, "?", env={"REELM_MODEL": str(self.dir / "gone")}, says="gone")
        copy = self.dir / "model"
        copy.mkdir()
        for file in DEMO.glob("*.json"):
            (copy / file.name).write_bytes(file.read_bytes())
        self.fails(1, "ask", "--model", copy, CLIP, "?", says="safetensors")
        weights = (DEMO / "model.safetensors").read_bytes()
        target = copy / "model.safetensors"
        for bad in (b"", b"\0" * 8, struct.pack("<Q", 1 << 60) + b"{}", weights[:5000],
                    weights[:-1], struct.pack("<Q", 2) + b"[]"):
            target.write_bytes(bad)
            self.fails(1, "ask", "--model", copy, CLIP, "?", says="model.safetensors")
        target.write_bytes(weights)
        config = json.loads((DEMO / "config.json").read_text())
        for change, word in (({"model_type": "llama"}, "qwen2_vl"), ({"model_type": 3}, "model_type"),
                             ({"video_token_id": 5}, "video_token_id")):
            (copy / "config.json").write_text(json.dumps({**config, **change}))
            self.fails(1, "ask", "--model", copy, CLIP, "?", says=word)
        config["text_config"]["intermediate_size"] = 641
        (copy / "config.json").write_text(json.dumps(config))
        self.fails(1, "ask", "--model", copy, CLIP, "?", says=("gate_proj", "641", "640"))
        (copy / "config.json").write_text("{" * 100000)
        self.fails(1, "ask", "--model", copy, CLIP, "?", says="config.json")

    def test_the_instruction_set_must_exist(self):
        self.fails(2, "ask", CLIP, "?", env={"REELM_ISA": "altivec"}, says=("altivec", "portable"))

    def test_a_full_disk_is_noticed(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([REELM, "ask", str(CLIP), "Describe the video."], stdout=full,
                                  stderr=subprocess.PIPE, timeout=PATIENCE, check=False)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


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


class Tune(CliTest):
    """--attention and --tune: which code runs, not how fast it is."""
    QUESTION = "Describe the video."

    def tokens(self, *args):
        return json.loads(self.ok("ask", "--json", *args, CLIP, self.QUESTION))["token_ids"]

    def names(self):
        err = self.fails(2, "ask", "--attention", "nonsense", CLIP, "?", says=("nonsense", "--attention"))
        return re.search(r"\{(.*)\}", err)[1].split(",")

    def test_every_attention_gives_the_same_answer(self):
        names = self.names()
        for name in ("auto", "flash-192x64", "flash-96x64-dynamic", "flash-192x128", "decode-512", "matmul",
                     "reference"):
            self.assertIn(name, names)
        expected = self.tokens("--tune", "off")
        for name in names:
            self.assertEqual(self.tokens("--attention", name), expected, name)

    def test_the_attention_asked_for_runs(self):
        path = self.dir / "t.json"
        self.ok("ask", "--attention", "flash-96x64", "--trace", path, CLIP, self.QUESTION)
        kernels = [e["args"]["kernel"] for e in json.loads(path.read_text())["traceEvents"]
                   if e.get("cat") == "kernel" and e["name"] == "attention"]
        self.assertGreater(len(kernels), 10)
        self.assertEqual(set(kernels), {"flash-96x64"})

    def test_choices_are_stored_and_read(self):
        path = self.dir / "tuning.json"
        expected = self.tokens("--tune", "off")
        self.assertEqual(self.tokens("--tune", "on", "--tune-file", path), expected)
        stored = json.loads(path.read_text())
        self.assertEqual(set(stored), {"format", "machine", "choices"})
        self.assertEqual(set(stored["machine"]), {"cpu", "cores", "reelm", "layout"})
        self.assertGreater(len(stored["choices"]), 0)
        for choice in stored["choices"]:
            timed = {t["candidate"]: t for t in choice["timings"]}
            self.assertIn(choice["rule"], timed)
            self.assertTrue(timed[choice["choice"]]["eligible"])
            self.assertLessEqual(timed[choice["choice"]]["ms"], timed[choice["rule"]]["ms"])
        # Any other choice of the same bits is taken, and changes no answer.
        for choice in stored["choices"]:
            choice["choice"] = choice["timings"][-1]["candidate"]
        path.write_text(json.dumps(stored))
        code, out, err = run("ask", "--tune-file", path, CLIP, self.QUESTION)
        self.assertEqual((code, err), (0, ""))
        self.assertEqual(self.tokens("--tune-file", path), expected)
        self.assertEqual(json.loads(path.read_text()), stored)

    def test_the_default_file_is_in_the_cache(self):
        env = {"XDG_CACHE_HOME": str(self.dir / "cache")}
        self.ok("ask", CLIP, self.QUESTION, env=env)
        self.assertEqual(list(self.dir.iterdir()), [])  # nothing is measured unasked for a small model
        self.ok("ask", "--tune", "on", CLIP, self.QUESTION, env=env)
        self.assertEqual([p.name[:13] for p in (self.dir / "cache" / "reelm").iterdir()], ["reelm-tuning-"])

    def test_damage_is_a_warning(self):
        path = self.dir / "tuning.json"
        expected = self.ok("ask", CLIP, self.QUESTION)
        for content in ("{", "[]", '{"format": 99}', "\0" * 100):
            path.write_text(content)
            code, out, err = run("ask", "--tune-file", path, CLIP, self.QUESTION)
            self.assertEqual((code, out), (0, expected))
            self.assertTrue(err.startswith("reelm: warning: "), err)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertIn(str(path), err)
            self.assertEqual(run("ask", "-q", "--tune-file", path, CLIP, self.QUESTION), (0, expected, ""))
        self.ok("ask", "--tune", "on", "--tune-file", path, CLIP, self.QUESTION)
        self.assertEqual(run("ask", "--tune-file", path, CLIP, self.QUESTION), (0, expected, ""))

    def test_what_cannot_be_written_or_found_fails_before_the_work(self):
        for path, says in (("/nowhere/t.json", "/nowhere/t.json"), (self.dir, "is a directory")):
            self.fails(1, "ask", "/nowhere.mp4", "?", "--tune", "on", "--tune-file", path, says=says)
        self.fails(1, "ask", "/nowhere.mp4", "?", "--tune-file", self.dir / "none", says=("none", "--tune on"))
        self.fails(2, "ask", "--tune", "maybe", CLIP, "?", says=("maybe", "auto", "on", "off"))

    def test_every_command_that_runs_a_model_takes_them(self):
        path = self.dir / "t.json"
        for command in (("verify", Verify.GOLDEN), ("perplexity", DEMO / "preprocessor_config.json"), ("chat",)):
            self.ok(*command, "--attention", "flash-48x64", "--tune", "on", "--tune-file", path)
        self.fails(2, "info", "--tune", "on", CLIP, says="--tune")


class Trace(CliTest):
    """--trace: what is in the file, by the model's sizes; not how long anything took."""
    CONFIG = json.loads((DEMO / "config.json").read_text())
    TEXT, VISION = CONFIG["text_config"], CONFIG["vision_config"]
    QUESTION = "Describe the video."

    class Lane(list):
        """The complete events of a lane in the order of the file, with their times in nanoseconds."""

        def __init__(self, test, events):
            super().__init__(events)
            stack = []
            for e in self:
                e["begin"], e["end"] = (round(1000 * t) for t in (e["ts"], e["ts"] + e["dur"]))
                while stack and stack[-1]["end"] <= e["begin"] and stack[-1]["end"] < e["end"]:
                    stack.pop()
                e["parent"] = stack[-1] if stack else None
                if stack:
                    test.assertLessEqual(stack[-1]["begin"], e["begin"])
                    test.assertLessEqual(e["end"], stack[-1]["end"], f"{e} is not inside of {stack[-1]}")
                stack.append(e)

        def named(self, name, kind=None):
            """By name; shares of loops bear that of their operation and are left out."""
            return [e for e in self if e["name"] == name and e["cat"] != "share" and kind in (None, e["cat"])]

        def inside(self, around):
            return [e for e in self if e["parent"] is around]

    def read(self, path):
        trace = json.loads(path.read_text())
        self.assertEqual(trace["otherData"]["dropped_events"], 0)
        events = trace["traceEvents"]
        self.assertEqual(len({e["pid"] for e in events}), 1)
        names = {e["tid"]: e["args"]["name"] for e in events if e["name"] == "thread_name"}
        spans = [e for e in events if e["ph"] == "X"]
        self.assertLessEqual({e["tid"] for e in spans}, set(names))
        lanes = {name: self.Lane(self, [e for e in spans if e["tid"] == tid]) for tid, name in names.items()}
        return lanes, [e for e in events if e["ph"] == "C"], trace["otherData"]

    def ask(self, *args):
        path = self.dir / "trace.json"
        out = json.loads(self.ok("ask", "--json", "--trace", path, *args, CLIP, self.QUESTION))
        return (*self.read(path), out)

    def test_lanes_and_counters(self):
        self.assertEqual(self.ok("ask", CLIP, self.QUESTION),
                         self.ok("ask", "--trace", self.dir / "t.json", CLIP, self.QUESTION))
        lanes, counters, notes, out = self.ask("--sandbox", "on", "--threads", 2)
        self.assertEqual(set(lanes), {"main", "tokenizer", "read-ahead", "decoder process", "OpenMP worker 1"})
        slices, frames = out["grid_thw"][0][0], len(out["media"][0]["frame_indices"])
        self.assertEqual([e["args"]["frame"] for e in lanes["decoder process"]],
                         out["media"][0]["frame_indices"])
        self.assertEqual(len(lanes["main"].named("slice")), 1)  # the first; the others are read ahead
        self.assertEqual(len(lanes["read-ahead"].named("resize")), frames - 2)
        self.assertEqual({e["cat"] for e in lanes["OpenMP worker 1"]}, {"share"})
        waits = {e["args"]["waits_for"] for lane in lanes.values() for e in lane if e["cat"] == "wait"}
        self.assertEqual(waits, {"main", "read-ahead", "tokenizer", "decoder process"})
        depths = [e["args"] for e in counters if e["name"] == "slices"]
        self.assertEqual(len(depths), 2 * (slices - 1) + 1)  # each that is put, each that is taken, the end
        for depth in depths:
            self.assertTrue(0 <= depth["ready"] + depth["empty"] <= 2, depth)
        memory = [e["args"]["resident_bytes"] for e in counters if e["name"] == "memory"]
        self.assertGreater(max(memory), 10_000_000)
        self.assertLess(max(memory), 1.25 * out["peak_memory_bytes"])  # the kernel counts in batches
        self.assertEqual((notes["command"], notes["threads"], notes["isa"]), ("ask", "2", out["isa"]))

        lanes = self.ask("--sandbox", "off", "--threads", 1, "--no-overlap")[0]
        self.assertEqual(set(lanes), {"main", "tokenizer"})
        self.assertEqual(len(lanes["main"].named("slice")), slices)
        for stage in ("decode", "convert"):
            self.assertGreaterEqual(len(lanes["main"].named(stage)), frames)

    def test_stages_hold_their_parts(self):
        lanes, _, _, out = self.ask()
        main = lanes["main"]
        whole, = main.named("ask")
        self.assertIsNone(whole["parent"])
        self.assertTrue(all(e["parent"] is not None for e in main if e is not whole))
        total, = main.named("total")
        stages = [e["name"] for e in main.inside(total)]
        answer = len(out["token_ids"])
        self.assertEqual(stages.count("vision"), out["grid_thw"][0][0])
        self.assertEqual(stages.count("sampling"), answer)
        self.assertEqual(stages.count("decode_tokens"), answer - 1)
        # What a span computes is what the kernels inside of it compute.
        kernels = sum(e["args"].get("flop", 0) for e in main if e["cat"] == "kernel")
        self.assertEqual(total["args"]["flop"], kernels)

    def test_stages_sum_up_to_the_whole(self):
        def covered(main, name):
            around, = main.named(name)
            inside = sum(e["end"] - e["begin"] for e in main.inside(around))
            self.assertLessEqual(inside, around["end"] - around["begin"])
            return inside / (around["end"] - around["begin"])

        # A pause between two stages is the system's; in one of several runs there is none.
        best = {"ask": 0, "total": 0}
        for _ in range(10):
            main = self.ask()[0]["main"]
            best = {name: max(share, covered(main, name)) for name, share in best.items()}
            if min(best.values()) > 0.8:
                break
        self.assertGreater(min(best.values()), 0.8, best)

    def test_every_layer_and_product_with_its_sizes(self):
        lanes, _, _, out = self.ask("--dtype", "bf16")
        main = lanes["main"]
        hidden, width = self.TEXT["hidden_size"], self.TEXT["intermediate_size"]
        heads, kv_heads = self.TEXT["num_attention_heads"], self.TEXT["num_key_value_heads"]
        head_dim = hidden // heads
        numbers = list(range(self.TEXT["num_hidden_layers"]))
        prompt = out["prompt_tokens"]
        passes = [(e, prompt) for e in main.named("prefill")] + [(e, 1) for e in main.named("decode_tokens")]
        self.assertEqual(len(passes), len(out["token_ids"]))
        for stage, rows in passes:
            layers = [e for e in main.inside(stage) if e["cat"] == "layer"]
            self.assertEqual([e["args"]["layer"] for e in layers], numbers)
            for layer in layers:
                last = rows if layer is not layers[-1] else 1  # behind the last layer's keys and values
                products = {}
                for operation in main.inside(layer):
                    self.assertEqual(operation["cat"], "operation")
                    products.setdefault(operation["name"], []).extend(
                        tuple(k["args"]["shape"].values()) for k in main.inside(operation) if k["name"] == "matmul")
                self.assertEqual(products["llm.qkv"], [(rows, (heads + 2 * kv_heads) * head_dim, hidden)])
                self.assertEqual(products["llm.o_proj"], [(last, hidden, heads * head_dim)])
                self.assertEqual(products["llm.mlp"], [(last, 2 * width, hidden), (last, hidden, width)])
        heads_of_tokens = [main.inside(e)[0]["args"] for e in main.named("llm.lm_head", "operation")]
        self.assertEqual([h["shape"] for h in heads_of_tokens],
                         [{"m": 1, "n": self.TEXT["vocab_size"], "k": hidden}] * len(passes))
        t, h, w = out["grid_thw"][0]
        layers = main.named("vit.layer", "layer")
        self.assertEqual([e["args"]["layer"] for e in layers], list(range(self.VISION["depth"])) * t)
        qkv = main.named("vit.qkv", "operation")
        for kernel in (main.inside(e)[0] for e in qkv):
            self.assertEqual(kernel["args"]["shape"], {"m": h * w, "n": 3 * self.VISION["embed_dim"],
                                                       "k": self.VISION["embed_dim"]})
        for e in main.named("matmul", "kernel"):
            args = e["args"]
            m, n, k = (args["shape"][size] for size in "mnk")
            self.assertEqual(args["flop"], 2 * m * n * k)
            self.assertGreater(args["bytes"], 2 * n * k)  # the weights in bf16 alone
            self.assertEqual(args["dtype"], "bf16")
            self.assertIn(args["kernel"], ("few_rows", "blocked", "onednn"))
            self.assertEqual(args["isa"], out["isa"])
        # A step attends to all before it and to itself.
        steps = [e for stage in main.named("decode_tokens") for e in main
                 if e["name"] == "attention" and stage["begin"] <= e["begin"] < stage["end"]]
        for i, e in enumerate(steps):
            n_k = prompt + 1 + i // len(numbers)
            self.assertEqual(e["args"]["shape"], {"n_q": 1, "n_k": n_k, "heads": heads, "kv_heads": kv_heads,
                                                  "head_dim": head_dim})
            self.assertEqual(e["args"]["flop"], 4 * n_k * heads * head_dim)

    def test_every_command_takes_it(self):
        commands = {"frames": (CLIP, "-o", self.dir / "x.png"), "info": (CLIP,), "tokenize": ("Hello",),
                    "verify": (Verify.GOLDEN,), "convert": (DEMO, self.dir / "out"),
                    "perplexity": (DEMO / "preprocessor_config.json",)}
        inside = {"frames": {"patchify"}, "info": {"open", "scan"}, "tokenize": {"tokenizer", "tokenize"},
                  "verify": {"load", "total"}, "convert": {"describe", "load", "write", "checksum"},
                  "perplexity": {"load", "decode_tokens"}}
        for command, args in commands.items():
            path = self.dir / f"{command}.json"
            self.ok(command, *args, "--trace", path)
            main = self.read(path)[0]["main"]
            self.assertEqual([e["name"] for e in main if e["parent"] is None], [command])
            self.assertLessEqual(inside[command], {e["name"] for e in main})

    def test_what_cannot_be_written_fails_before_the_work(self):
        for path, says in (("/nowhere/t.json", "/nowhere/t.json"), (self.dir, "is a directory"),
                           ("/dev/null", "is no regular file")):
            for command in (("ask", "/nowhere.mp4", "?"), ("info", "--model", "/nowhere"),
                            ("convert", DEMO, self.dir / "out")):
                self.fails(1, *command, "--trace", path, says=says)
        self.fails(2, "ask", "--trace", "", CLIP, "?", says="--trace")
        self.fails(2, "ask", "--trace", self.dir / "t.json", CLIP, "?", env={"REELM_ISA": "none"}, says="none")
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_a_run_that_fails_leaves_what_it_recorded(self):
        path = self.dir / "t.json"
        path.write_text("old")
        self.fails(1, "ask", "--trace", path, "--limit-prompt-tokens", 3, CLIP, "?", says="prompt-tokens")
        lanes = self.read(path)[0]
        self.assertIn("load", {e["name"] for e in lanes["main"]})
        self.assertEqual([p.name for p in self.dir.iterdir()], ["t.json"])

        def full_disk():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

        before = path.read_text()
        code, out, err = run("ask", "--sandbox", "off", "--trace", path, CLIP, self.QUESTION,
                             preexec_fn=full_disk)
        self.assertEqual((code, err.count("\n")), (1, 1), err)
        self.assertIn(f"reelm: error: {path}: cannot write", err)
        self.assertIn("square", out)  # the answer was given before
        self.assertEqual((path.read_text(), len(list(self.dir.iterdir()))), (before, 1))


class Ending(CliTest):
    """Ctrl-C, SIGTERM, --timeout, a reader that goes away: in time, and nothing is left."""

    def start(self, *args, **more):
        return subprocess.Popen([REELM, *map(str, args)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def ends(self, process, *signals):
        """Signals it and waits; (exit code, stdout, stderr)."""
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def silent_fifo(self):
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        self.addCleanup(os.close, os.open(fifo, os.O_RDWR))  # a writer that never writes
        return fifo

    def blocked(self, fifo, *args, **more):
        """reelm ask, once it waits for the FIFO."""
        process = self.start("ask", *args, fifo, "?", **more)
        fds = pathlib.Path(f"/proc/{process.pid}/fd")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if any(os.readlink(fd) == str(fifo) for fd in fds.iterdir()):
                    return process
            except OSError:
                pass  # a descriptor was closed in between
            time.sleep(0.01)
        process.kill()
        return self.fail("the FIFO was never opened")

    def test_a_signal_ends_a_blocked_read(self):
        fifo = self.silent_fifo()
        for number in (signal.SIGINT, signal.SIGTERM):
            code, out, err = self.ends(self.blocked(fifo), number)
            self.assertEqual((code, out), (130, b""), err)
            self.assertEqual(err, b"reelm: error: cancelled\n")
        trace = self.dir / "trace.json"
        code, _, err = self.ends(self.blocked(fifo, "--trace", trace), signal.SIGINT)
        self.assertEqual((code, err), (130, b"reelm: error: cancelled\n"))
        self.assertIn("ask", {e["name"] for e in json.loads(trace.read_text())["traceEvents"]})
        with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as stdin:
            process = subprocess.Popen([REELM, "ask", "-", "?"], stdin=stdin,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(1)  # wherever it is
            self.assertEqual(self.ends(process, signal.SIGINT)[0], 130)

    def test_signals_at_any_moment(self):
        out = self.dir / "out"
        sheet = self.dir / "sheet.png"
        trace = self.dir / "trace.json"
        cache = self.dir / "cache"
        commands = (("convert", DEMO, out), ("frames", CLIP, "-o", sheet),
                    ("ask", "--packed-cache", cache, "--trace", trace, CLIP, "Describe the video."))
        for command in commands:
            begin = time.monotonic()
            self.ok(*command)
            whole = time.monotonic() - begin
            for i in range(10):
                for path in (out, cache):
                    shutil.rmtree(path, ignore_errors=True)
                sheet.unlink(missing_ok=True)
                process = self.start(*command)
                time.sleep(whole * (i + 0.5) / 10)
                numbers = [signal.SIGINT] * (1 + i % 2)
                code, _, err = self.ends(process, *numbers)
                # Before main() the signal kills; behind the work it comes too late.
                self.assertIn(code, (130, 0, -signal.SIGINT), err)
                left = [p for p in self.dir.rglob("*") if ".part-" in p.name]
                self.assertEqual(left, [])
                if trace.exists():  # the whole of what was recorded
                    json.loads(trace.read_text())
                if code != 0 and out.exists():  # all of it or nothing
                    self.ok("ask", "--model", out, CLIP, "?")

    def test_a_signal_ends_writing_to_a_reader_that_does_not_read(self):
        process = self.start("info", "--json", "--tensors", DEMO)
        time.sleep(1.5)  # more than a pipe holds: it is blocked by now
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(PATIENCE), 130)
        process.communicate()

    def test_timeout(self):
        fifo = self.silent_fifo()
        self.fails(1, "ask", "--timeout", 0.5, fifo, "?", says="deadline has passed")
        for command in (("ask", CLIP, "?"), ("frames", CLIP, "-o", self.dir / "x.png"),
                        ("verify", Verify.GOLDEN), ("convert", DEMO, self.dir / "out"),
                        ("perplexity", DEMO / "config.json")):
            self.fails(1, *command, "--timeout", "1e-6", says="deadline has passed")
        fifo.unlink()
        self.assertEqual(list(self.dir.iterdir()), [])
        self.fails(2, "ask", "--timeout", "-1", CLIP, "?", says="--timeout")
        self.ok("ask", "--timeout", 1000, CLIP, "?")

    def test_a_reader_that_goes_away(self):
        for command in (("ask", CLIP, "Describe the video."), ("info", "--json", DEMO)):
            process = self.start(*command)
            process.stdout.close()
            err = process.stderr.read()
            process.stderr.close()
            self.assertEqual((process.wait(PATIENCE), err), (-signal.SIGPIPE, b""), command)

    def test_a_model_cut_short_while_it_is_in_use(self):
        model = self.dir / "model"
        self.ok("convert", "--dtype", "bf16", DEMO, model)
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        writer = os.open(fifo, os.O_RDWR)
        process = self.blocked(fifo, "--model", model)
        os.truncate(model / "model.safetensors", 4096)
        os.write(writer, CLIP.read_bytes())
        os.close(writer)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, out), (1, b""), err)
        self.assertIn(b"model.safetensors: became shorter", err)
        self.assertEqual(err.count(b"\n"), 1)


class FilesThatCannotBeWritten(CliTest):
    """Disk full and permission for every file that is written. Nothing is left of it."""

    @staticmethod
    def full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # No less: clang's OpenMP ends the process when it cannot write its own 1024 bytes.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    # The memory that a confined decoder shares would count as a file.
    OPEN = ("--sandbox", "off")

    def test_a_full_disk(self):
        out = self.dir / "out"
        out.mkdir()
        self.fails(1, "frames", *self.OPEN, CLIP, "-o", out / "sheet.png", says="sheet.png",
                   preexec_fn=self.full_disk)
        self.assertEqual(list(out.iterdir()), [])
        self.fails(1, "convert", DEMO, out / "model", says=str(out / "model"),
                   preexec_fn=self.full_disk)
        self.assertEqual(list(out.iterdir()), [])
        code, answer, err = run("ask", *self.OPEN, "--packed-cache", out, CLIP,
                                "What color is the square?", preexec_fn=self.full_disk)
        self.assertEqual((code, err.count("\n")), (0, 1), err)
        self.assertIn("reelm-packed-", err)
        self.assertNotEqual(answer, "")
        self.assertEqual(list(out.iterdir()), [])
        with subprocess.Popen(["cat", str(CLIP)], stdout=subprocess.PIPE) as cat:
            self.fails(1, "ask", *self.OPEN, "-", "?", says="temporary copy", stdin=cat.stdout,
                       preexec_fn=self.full_disk)

    def test_an_old_file_stays_when_the_new_one_fails(self):
        sheet = self.dir / "sheet.png"
        self.ok("frames", CLIP, "-o", sheet)
        before = sheet.read_bytes()
        self.fails(1, "frames", *self.OPEN, "--frames", 2, CLIP, "-o", sheet, says="sheet.png",
                   preexec_fn=self.full_disk)
        self.assertEqual(sheet.read_bytes(), before)

    def test_no_permission(self):
        self.fails(1, "frames", CLIP, "-o", "/proc/sheet.png", says="/proc/sheet.png")
        self.fails(1, "convert", DEMO, "/proc/model", says="/proc/model")
        self.fails(1, "ask", "-", "?", env={"TMPDIR": "/proc"}, says="temporary",
                   stdin=subprocess.PIPE)


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


class Convert(CliTest):
    QUESTION = "What color is the square?"

    def answer(self, *args, **more):
        return json.loads(self.ok("ask", "--json", *args, CLIP, self.QUESTION, **more))

    def test_a_converted_model_answers_as_its_source_does(self):
        for dtype in ("f32", "bf16", "int8", "int4"):
            out = self.dir / dtype
            text = self.ok("convert", "--dtype", dtype, DEMO, out)
            for word in ("config.json", "tokenizer.json", "MB", dtype):
                self.assertIn(word, text)
            expected = self.answer("--dtype", dtype)
            found = self.answer("--model", out)
            self.assertEqual(found["token_ids"], expected["token_ids"])
            self.assertEqual(found["model"]["dtype"], dtype)
            self.assertEqual(found["model"]["weights"], "converted")
            info = json.loads(self.ok("info", "--json", out))
            self.assertEqual(info["converted"]["dtype"], dtype)
            self.assertIn("converted: " + dtype, self.ok("info", out))

    def test_default_is_int4_and_types_can_be_chosen(self):
        self.ok("convert", DEMO, self.dir / "a")
        self.ok("convert", "--vision-dtype", "int8", "--dtype", "int8", DEMO, self.dir / "b")
        self.assertEqual(self.answer("--model", self.dir / "a")["model"]["dtype"], "int4")
        self.assertEqual(self.answer("--model", self.dir / "b")["model"]["vision_dtype"], "int8")

    def test_refusals(self):
        out = self.dir / "out"
        self.ok("convert", DEMO, out)
        self.fails(2, "ask", "--model", out, "--dtype", "int8", CLIP, "?",
                   says=("was converted to int4", "--dtype auto or int4"))
        self.fails(2, "ask", "--model", out, "--vision-dtype", "f32", CLIP, "?",
                   says=("was converted to bf16", "--vision-dtype auto or bf16"))
        self.fails(2, "convert", out, self.dir / "again", says="was converted before")
        self.fails(2, "convert", DEMO, out, says="not empty")
        self.ok("convert", "--dtype", "int8", "--force", DEMO, out)
        self.assertEqual(self.answer("--model", out)["model"]["dtype"], "int8")
        copy = self.dir / "copy"
        copy.mkdir()
        for file in DEMO.glob("*.*"):
            (copy / file.name).write_bytes(file.read_bytes())
        self.fails(2, "convert", copy, copy, says="lies in the model")
        self.fails(2, "convert", "--force", copy, copy / "x", says="lies in the model")
        self.fails(1, "convert", self.dir / "none", self.dir / "x", says="none")
        self.fails(1, "convert", DEMO, self.dir / "no" / "x")
        self.fails(2, "convert", DEMO)
        self.assertFalse((self.dir / "x").exists())

    def test_a_full_disk_leaves_nothing(self):
        out = self.dir / "out"
        limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
        ignore = lambda: (signal.signal(signal.SIGXFSZ, signal.SIG_IGN), limit())
        self.fails(1, "convert", DEMO, out, says="model.safetensors", preexec_fn=ignore)
        self.assertFalse(out.exists())


class PackedCache(CliTest):
    def source(self, *args, **more):
        code, out, err = run("ask", "--json", "--dtype", "int4", *args, CLIP, "?", **more)
        self.assertEqual(code, 0, err)
        return json.loads(out)["model"]["weights"], err

    def test_the_second_time_finds_what_the_first_packed(self):
        cache = self.dir / "cache"
        for env in ({"REELM_PACKED_CACHE": str(cache)}, None):
            args = () if env else ("--packed-cache", cache)
            self.assertEqual(self.source(*args, env=env), ("packed" if env else "cache", ""))
        self.assertEqual(len(list(cache.iterdir())), 1)
        self.assertEqual(self.source("--packed-cache", "off")[0], "packed")

    def test_small_models_are_not_cached_unasked(self):
        env = {"XDG_CACHE_HOME": str(self.dir), "REELM_PACKED_CACHE": ""}
        self.assertEqual(self.source(env=env), ("packed", ""))
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_trouble_is_a_warning(self):
        cache = self.dir / "cache"
        self.source("--packed-cache", cache)
        file = next(cache.iterdir())
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        source, err = self.source("--packed-cache", cache)
        self.assertEqual((source, err.count("\n")), ("packed", 1), err)
        self.assertIn("damaged", err)
        self.assertEqual(self.source("--packed-cache", cache), ("cache", ""))
        source, err = self.source("--packed-cache", "/proc/none")
        self.assertEqual((source, err.count("\n")), ("packed", 1), err)
        self.assertIn("/proc/none", err)
        self.assertEqual(self.source("-q", "--packed-cache", "/proc/none"), ("packed", ""))
        self.fails(2, "ask", "--packed-cache", "", CLIP, "?", says="packed cache")

    def test_two_at_once(self):
        cache = self.dir / "cache"
        command = [REELM, "ask", "--packed-cache", str(cache), str(CLIP), "What color is the square?"]
        both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
                for _ in range(2)]
        answers = [process.communicate(timeout=PATIENCE) for process in both]
        self.assertEqual(answers[0], answers[1])
        self.assertEqual([process.returncode for process in both], [0, 0])
        self.assertEqual(len(list(cache.iterdir())), 1)


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
    GOLDEN = SOURCE / "tests" / "goldens" / "demo_direction.safetensors"

    def test_a_golden_holds(self):
        out = self.ok("verify", self.GOLDEN)
        self.assertIn("every bound holds", out)
        self.assertIn("greedy tokens", out)

    def test_layers(self):
        golden = SOURCE / "tests" / "goldens" / "demo_layers.safetensors"
        out = self.ok("verify", "--layers", golden)
        for part in ("vision", "decoder"):
            for layer in range(4):
                self.assertRegex(out, rf"(?m)^{part} layer {layer} .* pass$")
        self.fails(1, "verify", "--layers", self.GOLDEN, says="make_golden.py --layers")

    def test_a_broken_bound_is_exit_1(self):
        data = bytearray(self.GOLDEN.read_bytes())
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
        self.fails(2, "verify", self.GOLDEN, "--media", CLIP, "--media", CLIP, says="media")


class Help(CliTest):
    def test_every_help_has_examples(self):
        for command in ((), ("ask",), ("info",), ("convert",), ("frames",), ("tokenize",), ("verify",)):
            self.assertIn("xample", self.ok(*command, "--help"))
        self.assertRegex(self.ok("--version"), r"^reelm \d+\.\d+\.\d+\n$")


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=1)
