"""--attention and --tune: which code runs.

usage: tune_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import re

from cli import CLIP, DEMO, GOLDEN, CliTest, run, main


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
        for command in (("verify", GOLDEN), ("perplexity", DEMO / "preprocessor_config.json"), ("chat",)):
            self.ok(*command, "--attention", "flash-48x64", "--tune", "on", "--tune-file", path)
        self.fails(2, "info", "--tune", "on", CLIP, says="--tune")


if __name__ == "__main__":
    main(__doc__)
