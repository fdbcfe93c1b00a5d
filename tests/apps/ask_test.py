"""`reelm ask` as a user meets it: answers, and what is wrong with what it is given.

usage: ask_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import os
import pathlib
import re
import struct
import subprocess
import time

from cli import CLIP, DEMO, KINDS, MEDIA, PATIENCE, REELM, SOURCE, CliTest, run, main


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


if __name__ == "__main__":
    main(__doc__)
