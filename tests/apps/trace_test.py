"""--trace and tools/trace_summary.py.

usage: trace_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import resource
import signal

from cli import CLIP, DEMO, GOLDEN, CliTest, run, main


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
                    "verify": (GOLDEN,), "convert": (DEMO, self.dir / "out"),
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


if __name__ == "__main__":
    main(__doc__)
