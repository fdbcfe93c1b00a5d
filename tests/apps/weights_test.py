"""`reelm convert` and the cache of packed weights.

usage: weights_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import resource
import signal
import subprocess

from cli import CLIP, DEMO, PATIENCE, REELM, CliTest, run, main


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


if __name__ == "__main__":
    main(__doc__)
