"""reelm-bench as a user meets it; nothing here looks at how fast anything is.

usage: bench_test.py REELM_BENCH_PROGRAM SOURCE_DIR
"""
import collections
import csv
import io
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import unittest

BENCH = sys.argv[1] if len(sys.argv) > 2 else ""
SOURCE = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
CLIP = SOURCE / "models" / "demo" / "sample.mp4"
TINY = ("--model", "synthetic:tiny")
QUICK_ONCE = (*TINY, "--grid", "2,4,6", "--prompt-tokens", "20", "--new-tokens", "3")
QUICK = (*QUICK_ONCE, "--repeat", "2")

VIT = ["patch_embed", "norm", "qkv", "rotary", "attention", "proj", "mlp", "merger"]
LLM = ["norm", "qkv", "rotary", "kv_write", "attention", "o_proj", "mlp", "lm_head"]


def run(*args):
    done = subprocess.run([BENCH, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True,
                          timeout=240, check=False)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


class Bench(unittest.TestCase):
    def ok(self, *args):
        code, out, err = run(*args)
        self.assertEqual(code, 0, f"{args}: {err}")
        return out

    def fails(self, code, *args, says=""):
        found, out, err = run(*args)
        self.assertEqual(found, code, f"{args}: stdout {out!r} stderr {err!r}")
        self.assertEqual(out, "")
        self.assertTrue(err.startswith("reelm-bench: error: "), err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertIn(says, err)

    def check(self, report, prefill=tuple(LLM)):
        for key in ("bf16_gflops", "int8_gops", "f32_gflops", "read_gbps"):
            self.assertGreater(report["ceilings"][key], 0)
        for key in ("cpu", "isa", "cores", "threads", "memory_gb"):
            self.assertIn(key, report["machine"])
        rows = {row["stage"]: row for row in report["stages"]}
        self.assertEqual(len(rows), len(report["stages"]))
        for row in rows.values():
            for key in ("median_ms", "min_ms", "max_ms", "flop", "bytes", "rate"):
                self.assertTrue(math.isfinite(row[key]) and row[key] >= 0, row)
            self.assertTrue(row["min_ms"] <= row["median_ms"] <= row["max_ms"], row)
            if row["percent_of_ceiling"] is not None:
                self.assertTrue(math.isfinite(row["percent_of_ceiling"]), row)
        # Parts lie inside of their stage: true of every single run, so of a single one's medians.
        if report["work"]["repeat"] == 1:
            for stage in ("vit", "prefill"):
                parts = [r["median_ms"] for s, r in rows.items() if s.startswith(stage + ".")]
                self.assertLessEqual(sum(parts), rows[stage]["median_ms"] * 1.05 + 0.05)
        for stage, parts in (("vit", VIT), ("prefill", prefill), ("decode_token", LLM)):
            self.assertIn(stage, rows)
            self.assertEqual({f"{stage}.{part}" for part in parts},
                             {s for s in rows if s.startswith(stage + ".")})
        self.assertIn("merge", rows)
        self.assertIn("sampling", rows)
        totals = report["totals"]
        for key in ("time_to_first_token_ms", "tokens_per_second", "end_to_end_ms",
                    "peak_memory_bytes"):
            self.assertTrue(math.isfinite(totals[key]) and totals[key] > 0, totals)
        self.assertLessEqual(totals["time_to_first_token_ms"], totals["end_to_end_ms"])
        return rows

    def test_json_of_a_grid(self):
        report = json.loads(self.ok(*QUICK, "--json"))
        rows = self.check(report)
        self.assertEqual(report["work"]["vision_tokens"], 12)
        self.assertEqual(report["work"]["prompt_tokens"], 20)
        self.assertNotIn("decode", rows)
        self.assertIsNone(report["totals"]["load_cold_ms"])
        self.assertGreater(report["totals"]["synthetic_make_ms"], 0)
        self.check(json.loads(self.ok(*QUICK_ONCE, "--json", "--repeat", "1", "--dtype", "f32",
                                      "--threads", "1")))

    def test_json_of_a_clip_and_a_directory(self):
        report = json.loads(self.ok("--model", SOURCE / "models" / "demo", "--media", CLIP,
                                    "--new-tokens", 2, "--repeat", 1, "--json"))
        rows = self.check(report)
        for stage in ("open", "scan", "seek", "decode", "convert", "resize", "patchify"):
            self.assertIn(stage, rows)
        self.assertGreater(report["totals"]["load_cold_ms"], 0)
        self.assertGreater(report["totals"]["load_warm_ms"], 0)

    def test_table_csv_and_plot(self):
        table = self.ok(*QUICK)
        for word in ("ceilings:", "decode_token", "% ceiling", "tokens/s", "peak memory"):
            self.assertIn(word, table)
        with tempfile.TemporaryDirectory() as folder:
            picture = pathlib.Path(folder) / "plot.png"
            rows = list(csv.DictReader(io.StringIO(self.ok(*QUICK, "--csv", "--plot", picture))))
            self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")
        self.assertIn("vit.merger", {row["stage"] for row in rows})

    def test_trace(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "trace.json"
            self.ok(*QUICK_ONCE, "--repeat", "2", "--trace", path)
            events = [e for e in json.loads(path.read_text())["traceEvents"] if e["ph"] == "X"]
        found = collections.Counter(e["name"] for e in events if e["cat"] == "stage")
        self.assertEqual({name: found[name] for name in ("bench", "ceilings", "repetition", "vit", "prefill",
                                                         "decode_token", "sampling")},
                         {"bench": 1, "ceilings": 2, "repetition": 2, "vit": 4, "prefill": 2, "decode_token": 6,
                          "sampling": 8})
        self.assertLessEqual({f"vit.{part}" for part in VIT} | {f"llm.{part}" for part in LLM},
                             {e["name"] for e in events if e["cat"] == "operation"})
        products = [e["args"] for e in events if e["name"] == "matmul" and e["cat"] == "kernel"]
        for args in products:
            self.assertEqual(args["flop"], 2 * args["shape"]["m"] * args["shape"]["n"] * args["shape"]["k"])
        self.assertGreater(len(products), 0)

    def check_tokens(self, tokens):
        for token in tokens:
            parts = [token[key] for key in ("input_generate_ms", "model_ms", "sampling_ms")]
            self.assertTrue(all(part >= 0 for part in parts), token)
            self.assertGreater(token["model_ms"], 0)
            self.assertGreaterEqual(token["token_ms"] * (1 + 1e-9), sum(parts))

    def test_per_token(self):
        report = json.loads(self.ok(*QUICK, "--per-token", "--json"))
        self.assertGreater(report["session_preprocess_ms"], 0)
        tokens = report["tokens"]
        self.assertEqual(len(tokens), 4)  # of the prompt, and of 3 steps
        self.check_tokens(tokens)
        for key, value in report["total"].items():
            self.assertAlmostEqual(value, sum(t[key] for t in tokens))
        for key, value in report["average_of_increments"].items():
            self.assertAlmostEqual(value, sum(t[key] for t in tokens[1:]) / 3)

        report = json.loads(self.ok("--model", SOURCE / "models" / "demo", "--media", CLIP,
                                    "--new-tokens", 2, "--per-token", "--json"))
        self.check_tokens(report["tokens"])
        self.assertGreater(report["session_preprocess_ms"], 0)

        lines = self.ok(*QUICK, "--per-token").splitlines()
        self.assertTrue(lines[0].startswith("SessionPreProcess "))
        self.assertEqual(lines[2].split(),
                         ["token", "InputGenerate", "ModelTime", "Sampling", "TokenTime"])
        self.assertEqual([line[:25].strip() for line in lines[3:]],
                         ["0", "1", "2", "3", "total", "average of the increments"])
        rows = list(csv.DictReader(io.StringIO(self.ok(*QUICK, "--per-token", "--csv"))))
        self.assertEqual([row["Token"] for row in rows],
                         ["SessionPreProcess", "0", "1", "2", "3", "total",
                          "average of the increments"])
        self.fails(2, *QUICK, "--per-token", "--plot", "p.png", says="--plot")

    def test_matrix(self):
        text = self.ok(*TINY, "--matrix", "--batches", "1,2", "--inputs", "4,6", "--outputs", "1,3",
                       "--repeat", 2)
        self.assertEqual(text.splitlines()[0],
                         "Batch,MaxSeqLen,InputSeqLen,OutputSeqLen,TokensPerSecond,"
                         "ResponseTime(ms),FirstTokenTime(ms),TimePerToken(ms)")
        rows = [{key: float(value) for key, value in row.items()}
                for row in csv.DictReader(io.StringIO(text))]
        self.assertEqual([(r["InputSeqLen"], r["OutputSeqLen"], r["Batch"]) for r in rows],
                         [(i, o, b) for i in (4, 6) for o in (1, 3) for b in (1, 2)])
        for r in rows:
            tokens, steps = r["Batch"] * r["OutputSeqLen"], r["OutputSeqLen"] - 1
            self.assertEqual(r["MaxSeqLen"], r["InputSeqLen"] + r["OutputSeqLen"])
            # Printed to a thousandth of a millisecond.
            self.assertAlmostEqual(r["TokensPerSecond"] * r["ResponseTime(ms)"] / 1000, tokens,
                                   delta=tokens * 1e-3 / r["ResponseTime(ms)"] + 1e-2)
            self.assertLessEqual(r["FirstTokenTime(ms)"], r["ResponseTime(ms)"])
            if steps:
                self.assertAlmostEqual(
                    r["FirstTokenTime(ms)"] + r["TimePerToken(ms)"] * steps, r["ResponseTime(ms)"],
                    delta=(steps + 2) * 1e-3)
            else:
                self.assertEqual(r["TimePerToken(ms)"], 0)

    def test_bad_matrix(self):
        for flag in ("--batches", "--inputs", "--outputs"):
            for value in ("1,", "0", "a", "1,-2", "1000001"):
                self.fails(2, *TINY, "--matrix", f"{flag}={value}", says=flag)
            self.fails(2, *TINY, flag, "1", says="--matrix")
        for other in (("--per-token",), ("--media", CLIP), ("--grid", "1,4,4"), ("--json",),
                      ("--new-tokens", "3"), ("--plot", "p.png")):
            self.fails(2, *TINY, "--matrix", *other, says=other[0])
        self.fails(2, *TINY, "--matrix", "--inputs", "40000", says="batch 1, input 40000, output 32")
        self.fails(1, *TINY, "--matrix", "--batches", "1,512", "--inputs", "8,30000", "--outputs",
                   "8", "--limit-request-bytes", 50_000_000, says="batch 512, input 30000, output 8")

    def test_replicas(self):
        text = self.ok(*TINY, "--replicas", "1,3", "--prompt-tokens", 12, "--new-tokens", 4,
                       "--requests", 5, "--repeat", 2)
        self.assertEqual(text.splitlines()[0],
                         "Replicas,Weights,Requests,PromptTokens,NewTokens,RequestsPerSecond,"
                         "TokensPerSecond,MedianLatency(ms),MaxLatency(ms),PeakMemory(MB)")
        rows = list(csv.DictReader(io.StringIO(text)))
        self.assertEqual([(r["Replicas"], r["Weights"]) for r in rows],
                         [("1", "shared"), ("3", "shared"), ("1", "separate"), ("3", "separate")])
        for r in rows:
            self.assertEqual((r["Requests"], r["NewTokens"]), ("5", "20"))  # nothing ends an answer
            self.assertGreaterEqual(int(r["PromptTokens"]), 12)
            self.assertAlmostEqual(float(r["TokensPerSecond"]) / float(r["RequestsPerSecond"]), 4,
                                   delta=0.01)
            self.assertLessEqual(float(r["MedianLatency(ms)"]), float(r["MaxLatency(ms)"]))
            self.assertGreater(int(r["PeakMemory(MB)"]), 0)
        text = self.ok("--model", SOURCE / "models" / "demo", "--media", CLIP, "--replicas", "2",
                       "--weights", "shared", "--new-tokens", 3, "--repeat", 1)
        (row,) = csv.DictReader(io.StringIO(text))
        self.assertEqual((row["Requests"], row["Weights"]), ("4", "shared"))

    def test_bad_replicas(self):
        for value in ("0", "1,", "a", "-1"):
            self.fails(2, *TINY, f"--replicas={value}", says="--replicas")
        self.fails(2, *TINY, "--replicas", "5000", says="replicas is 5000, expected 1 to 1024")
        self.fails(2, *TINY, "--replicas", "1", "--weights", "some", says="--weights")
        self.fails(2, *TINY, "--replicas", "1", "--requests", "0", says="--requests")
        self.fails(2, *TINY, "--weights", "shared", says="--replicas")
        self.fails(2, *TINY, "--requests", "2", says="--replicas")
        for other in (("--per-token",), ("--matrix",), ("--grid", "1,4,4"), ("--json",)):
            self.fails(2, *TINY, "--replicas", "1", *other, says=other[0])
        self.fails(1, *TINY, "--replicas", "1", "--media", "/nowhere.mp4", says="/nowhere.mp4")
        self.fails(2, "--model", "synthetic:nothing", "--replicas", "1", says="synthetic:tiny")

    def check_ladder(self, rows, first=0):
        self.assertEqual(len(rows), 10 - first)
        for row in rows:
            self.assertGreater(float(row["vit_prefill_ms"]), 0)
            self.assertGreater(float(row["decode_ms_per_token"]), 0)
        self.assertIn(rows[0]["gain"], (None, ""))
        self.assertEqual(float(rows[0]["max_relative_difference"]), 0)
        for row in rows[1:]:
            self.assertGreater(float(row["gain"]), 0)
            self.assertLess(float(row["max_relative_difference"]), 0.1)
        self.assertGreater(float(rows[-1]["max_relative_difference"]), 0)

    def test_ladder(self):
        report = json.loads(self.ok(*QUICK, "--ladder", "--json"))
        self.check_ladder(report["rungs"])
        self.assertEqual([row["rung"] for row in report["rungs"]], list(range(10)))
        self.assertEqual(report["work"]["prompt_tokens"], 20)
        self.assertIsNone(report["work"]["question"])
        separate, fused = (report["preprocessing"][form] for form in ("separate", "fused"))
        self.assertAlmostEqual(separate["all_ms"], sum(
            separate[part + "_ms"] for part in ("resize", "rescale", "normalise", "patches")))
        self.assertAlmostEqual(fused["all_ms"], fused["resize_ms"] + fused["patches_ms"])
        self.assertAlmostEqual(report["preprocessing"]["gain"], separate["all_ms"] / fused["all_ms"])

        rows = list(csv.DictReader(io.StringIO(self.ok(*QUICK, "--ladder", "--csv", "--ladder-from", 8))))
        self.check_ladder([row for row in rows if row["kind"] == "rung"], first=8)
        self.assertEqual([(row["kind"], row["name"]) for row in rows[2:]],
                         [("separate", name) for name in ("resize", "rescale", "normalise", "patches", "all")] +
                         [("fused", name) for name in ("resize", "patches", "all")])
        self.assertTrue(all(float(row["frame_ms"]) > 0 for row in rows[2:]))

        table = self.ok(*QUICK_ONCE, "--ladder", "--ladder-from", 7, "--repeat", 1)
        head = next(line for line in table.splitlines() if line.startswith("optimisation"))
        self.assertEqual([part.strip() for part in head.split("|")],
                         ["optimisation", "ViT+prefill ms", "decode ms/token", "gain",
                          "max relative difference of the logits"])
        for number in (7, 8, 9):
            self.assertIn(f"\n({number}) ", table)
        self.assertNotIn("\n(6) ", table)

    def test_ladder_of_the_demo(self):
        quick = ("--ladder", "--ladder-from", 8, "--new-tokens", 2, "--repeat", 1, "--json", "--model",
                 SOURCE / "models" / "demo")
        sample = json.loads((SOURCE / "models" / "demo" / "sample.json").read_text())
        work = json.loads(self.ok(*quick))["work"]
        self.assertEqual(work["question"], sample["questions"][0]["question"])
        self.assertEqual(pathlib.Path(work["media"]).name, sample["clip"])
        self.assertEqual(work["grid_thw"], sample["video_grid_thw"])
        other = json.loads(self.ok(*quick, "--question", "Why?"))["work"]
        self.assertEqual(other["question"], "Why?")
        self.assertLess(other["prompt_tokens"], work["prompt_tokens"])
        made_up = json.loads(self.ok(*quick, "--grid", "1,4,4", "--prompt-tokens", 9))["work"]
        self.assertIsNone(made_up["media"])
        self.assertIsNone(made_up["question"])
        self.assertEqual(made_up["prompt_tokens"], 9)

    def test_bad_ladder(self):
        for other in (("--per-token",), ("--matrix",), ("--plot", "p.png"), ("--kv-dtype", "f32"),
                      ("--replicas", "1")):
            self.fails(2, *TINY, "--ladder", *other, says=other[0])
        self.fails(2, *TINY, "--ladder-from", "3", says="--ladder")
        self.fails(2, *TINY, "--question", "Why?", says="--ladder")
        for rung in ("-1", "10", "x", ""):
            self.fails(2, *TINY, "--ladder", f"--ladder-from={rung}", says="--ladder-from")
        self.fails(2, *TINY, "--ladder", "--question=", says="--question")
        self.fails(2, *TINY, "--ladder", "--question", "Why?", "--prompt-tokens", "20",
                   says="--prompt-tokens")
        for dtype in ("--dtype", "--vision-dtype"):
            self.fails(2, *TINY, "--ladder", dtype, "int8", says="found int8")
        self.fails(2, *TINY, "--ladder", "--grid", "1,3,4", says="--grid")
        self.fails(1, *QUICK, "--ladder", "--limit-request-bytes", 100_000, says="the ladder needs")
        self.fails(1, *TINY, "--ladder", "--media", "/nowhere.mp4", says="/nowhere.mp4")

    def test_tune_report(self):
        with tempfile.TemporaryDirectory() as scratch:
            path = pathlib.Path(scratch) / "tuning.json"
            rows = json.loads(self.ok(*QUICK[:6], "--repeat", "2", "--tune-report", "--json", "--tune", "on",
                                      "--tune-file", path))
            stored = json.loads(path.read_text())["choices"]
        operations = {row["operation"] for row in rows}
        self.assertEqual(operations, {"vit.attention", "prefill.attention", "decode.attention", "vit.qkv",
                                      "vit.proj", "vit.fc1", "vit.fc2", "llm.qkv", "llm.o_proj",
                                      "llm.mlp.gate_up", "llm.mlp.down"})
        for row in rows:
            self.assertTrue(row["why"])
            if row["chosen"] is None:  # oneDNN's
                self.assertEqual(row["candidates"], [])
                continue
            candidates = {c["name"]: c for c in row["candidates"]}
            for name in (row["chosen"], row["rule"]):
                self.assertTrue(candidates[name]["same_bits"], row)
            for candidate in row["candidates"]:
                self.assertTrue(math.isfinite(candidate["ms"]) and candidate["ms"] >= 0, row)
            if "attention" in row["operation"]:
                self.assertLessEqual({"reference", "flash-192x128"}, set(candidates))
        self.assertLessEqual(len(stored), len(rows))  # shapes of one class share a choice
        self.assertGreater(len(stored), 0)
        table = self.ok(*QUICK[:6], "--repeat", "1", "--tune-report")
        self.assertIn("chosen: ", table)
        for operation in operations:
            self.assertIn(operation, table)

    def test_tuning_takes_the_names_it_knows(self):
        self.fails(2, *QUICK, "--attention", "nonsense", says="flash-192x64")
        self.fails(2, *QUICK, "--tune-report", "--per-token", says="--tune-report")
        self.fails(1, *QUICK, "--tune", "on", "--tune-file", "/nowhere/t.json", says="/nowhere/t.json")
        self.ok(*QUICK_ONCE, "--repeat", "1", "--per-token", "--attention", "decode-1024")

    def test_text_models(self):
        text = ("--model", "synthetic:tiny-text", "--repeat", "1")
        quick = (*text, "--prompt-tokens", "20", "--new-tokens", "3")
        report = json.loads(self.ok(*quick, "--json"))
        stages = {row["stage"] for row in report["stages"]}
        self.assertEqual((report["work"]["vision_tokens"], report["work"]["prompt_tokens"]), (0, 20))
        self.assertEqual(stages - {f"{s}.{part}" for s in ("prefill", "decode_token") for part in LLM},
                         {"merge", "prefill", "decode_token", "sampling"})
        tokens = list(csv.DictReader(io.StringIO(self.ok(*quick, "--per-token", "--csv"))))
        self.assertGreaterEqual(len(tokens), 4)  # the prompt's and three more
        cells = list(csv.DictReader(io.StringIO(self.ok(
            *text, "--matrix", "--batches", "1,2", "--inputs", "8", "--outputs", "4"))))
        self.assertEqual(len(cells), 2)
        served = self.ok(*quick, "--replicas", "1,2", "--requests", "2")
        self.assertEqual(len(served.splitlines()), 5)
        rows = json.loads(self.ok(*text, "--prompt-tokens", "20", "--tune-report", "--json"))
        operations = {row["operation"] for row in rows}
        self.assertIn("llm.mlp.down", operations)
        self.assertFalse([name for name in operations if name.startswith("vit.")])
        for given in (("--media", CLIP), ("--grid", "1,4,4"), ("--ladder",)):
            self.fails(2, *text, *given, says="'qwen2' takes no images or videos")
        with tempfile.TemporaryDirectory() as folder:
            demo = SOURCE / "models" / "demo"
            for path in demo.iterdir():
                (pathlib.Path(folder) / path.name).symlink_to(path)
            sizes = json.loads((demo / "config.json").read_text())["text_config"]
            config = pathlib.Path(folder) / "config.json"
            config.unlink()
            config.write_text(json.dumps(sizes | {"model_type": "qwen2"}))
            report = json.loads(self.ok("--model", folder, "--new-tokens", 2, "--repeat", 1, "--json"))
        self.assertEqual(report["work"]["vision_tokens"], 0)

    def test_the_first_qwen(self):
        tiny = ("--model", "synthetic:tiny-qwen", "--repeat", "1")
        report = json.loads(self.ok(*tiny, "--prompt-tokens", "20", "--new-tokens", "3", "--json"))
        self.assertEqual(report["work"]["prompt_tokens"], 20)
        tokens = csv.DictReader(io.StringIO(self.ok(*tiny, "--prompt-tokens", "20", "--new-tokens", "3", "--per-token", "--csv")))
        self.assertGreaterEqual(len(list(tokens)), 4)
        cells = csv.DictReader(io.StringIO(self.ok(
            *tiny, "--matrix", "--batches", "1,2", "--inputs", "8", "--outputs", "4")))
        self.assertEqual(len(list(cells)), 2)
        self.fails(2, *tiny, "--media", CLIP, says="'qwen' takes no images or videos")

    def test_chatglm(self):
        tiny = ("--model", "synthetic:tiny-chatglm", "--repeat", "1", "--prompt-tokens", "20")
        report = json.loads(self.ok(*tiny, "--new-tokens", "3", "--json"))
        self.assertEqual(report["work"]["prompt_tokens"], 20)
        tokens = self.ok(*tiny, "--new-tokens", "3", "--per-token", "--csv")
        self.assertGreaterEqual(len(list(csv.DictReader(io.StringIO(tokens)))), 4)
        matrix = ("--matrix", "--batches", "1,2", "--inputs", "8", "--outputs", "4")
        cells = csv.DictReader(io.StringIO(self.ok(*tiny[:4], *matrix)))
        self.assertEqual(len(list(cells)), 2)
        self.fails(2, *tiny, "--media", CLIP, says="'chatglm' takes no images or videos")

    def test_chatglm2(self):
        tiny = ("--model", "synthetic:tiny-chatglm2", "--repeat", "1")
        report = json.loads(self.ok(*tiny, "--prompt-tokens", "20", "--new-tokens", "3", "--json"))
        self.assertEqual(report["work"]["prompt_tokens"], 20)
        tokens = csv.DictReader(io.StringIO(self.ok(*tiny, "--prompt-tokens", "20", "--new-tokens", "3", "--per-token", "--csv")))
        self.assertGreaterEqual(len(list(tokens)), 4)
        cells = csv.DictReader(io.StringIO(self.ok(
            *tiny, "--matrix", "--batches", "1,2", "--inputs", "8", "--outputs", "4")))
        self.assertEqual(len(list(cells)), 2)
        self.fails(2, *tiny, "--media", CLIP, says="'chatglm' takes no images or videos")

    def test_a_tower_with_windows(self):
        quick = ("--model", "synthetic:tiny-qwen2.5-vl", *QUICK_ONCE[2:], "--repeat", "1")
        report = json.loads(self.ok(*quick, "--json"))
        self.check(report)
        rows = json.loads(self.ok(*quick[:6], "--repeat", "1", "--tune-report", "--json"))
        self.assertIn("vit.gate_up", {row["operation"] for row in rows})
        self.fails(2, *quick, "--ladder", says="model_type is 'qwen2_5_vl', --ladder expects qwen2_vl")

    def test_deepstack(self):
        quick = ("--model", "synthetic:tiny-qwen3-vl", *QUICK_ONCE[2:], "--repeat", "1")
        self.check(json.loads(self.ok(*quick, "--json")), prefill=(*LLM, "deepstack"))
        rows = json.loads(self.ok(*quick[:6], "--repeat", "1", "--tune-report", "--json"))
        self.assertIn("vit.fc1", {row["operation"] for row in rows})
        self.fails(2, *quick, "--ladder", says="model_type is 'qwen3_vl', --ladder expects qwen2_vl")

    def test_bad_usage(self):
        self.fails(2, "--model", "synthetic:nothing", says="synthetic:qwen2-vl-2b")
        for grid in ("", "1", "1,2", "1,2,3,4", "0,4,4", "1,-2,4", "1,3,4", "a,b,c", "1,4,4 ",
                     "1,99999999999999999999,2"):
            self.fails(2, *TINY, "--grid=" + grid)
        self.fails(2, *TINY, "--grid", "1,4,6", "--media", CLIP)
        self.fails(2, *QUICK[:4], "--prompt-tokens", "6")  # 12 vision tokens alone
        self.fails(2, *TINY, "--prompt-tokens", "40000")
        for flag in ("--repeat", "--new-tokens", "--prompt-tokens"):
            self.fails(2, *TINY, flag, "0")
            self.fails(2, *TINY, flag, "x")
        for value in ("-1", "x", "99999"):
            self.fails(2, *TINY, "--threads", value)
        self.fails(2, *TINY, "--dtype", "f64", says="f64")
        self.fails(2, *TINY, "--kv-dtype", "int4", says="int4")
        self.fails(2, *QUICK, "--json", "--csv")
        self.fails(2, "--nothing")

    def test_bad_input(self):
        self.fails(1, "--model", "/nowhere/at/all", says="/nowhere/at/all")
        self.fails(1, *TINY, "--media", "/nowhere.mp4", says="/nowhere.mp4")
        self.fails(1, *TINY, "--media", SOURCE / "Makefile", says="Makefile")
        self.fails(1, *QUICK, "--plot", "/nowhere/plot.png", says="/nowhere/plot.png")
        self.fails(1, *QUICK, "--trace", "/nowhere/trace.json", says="/nowhere/trace.json")
        self.fails(1, "--model", "/nowhere", "--trace", SOURCE, says="is a directory")


if __name__ == "__main__":
    unittest.main(argv=sys.argv[:1], verbosity=2)
