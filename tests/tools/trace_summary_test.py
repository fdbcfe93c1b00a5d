#!/usr/bin/env python3
"""tools/trace_summary.py on traces whose numbers are worked out by hand."""
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

TOOL = pathlib.Path(__file__).resolve().parents[2] / "tools" / "trace_summary.py"


def load_tool():
    spec = importlib.util.spec_from_file_location("trace_summary", TOOL)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


tool = load_tool()


def span(tid, name, kind, ts, dur, **args):
    return {"ph": "X", "pid": 1, "tid": tid, "name": name, "cat": kind, "ts": ts, "dur": dur, "args": args}


def lane(tid, name):
    return {"ph": "M", "pid": 1, "tid": tid, "name": "thread_name", "args": {"name": name}}


# Microseconds. main reads a slice itself (0-100), encodes it (100-400) while the read-ahead lane reads the next
# (100-500, of which it waits 200 for the decoder process), waits for that (400-500), encodes it (500-800).
EVENTS = [
    lane(1, "main"), lane(2, "read-ahead"), lane(3, "decoder process"), lane(4, "OpenMP worker 1"),
    span(1, "ask", "stage", 0, 1000),
    span(1, "slice", "stage", 0, 100),
    span(1, "resize", "stage", 20, 80, bytes=8000),
    span(1, "vision", "stage", 100, 300, slice=0, flop=300000),
    span(1, "vit.layer", "layer", 100, 290, layer=0, flop=300000),
    span(1, "vit.qkv", "operation", 110, 270, flop=300000, bytes=54000),
    span(1, "matmul", "kernel", 120, 250, kernel="blocked", dtype="bf16", isa="avx2", flop=300000, bytes=54000),
    span(1, "vit.qkv", "share", 130, 200),
    span(1, "ready.wait", "wait", 400, 100, waits_for="read-ahead"),
    span(1, "vision", "stage", 500, 300, slice=1),
    span(2, "slice", "stage", 100, 400),
    span(2, "decoder.wait", "wait", 100, 200, waits_for="decoder process"),
    span(2, "resize", "stage", 300, 200, bytes=8000),
    span(3, "decode_frame", "stage", 60, 230),
    span(4, "vit.qkv", "share", 125, 245),
    {"ph": "C", "pid": 1, "tid": 0, "name": "memory", "ts": 5, "args": {"resident_bytes": 5000000}},
]


class TraceSummary(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.scratch.name)

    def tearDown(self):
        self.scratch.cleanup()

    def write(self, data):
        path = self.dir / "trace.json"
        path.write_text(data if isinstance(data, str) else json.dumps(data))
        return path

    def run_tool(self, *args, env=None):
        done = subprocess.run([sys.executable, str(TOOL), *map(str, args)], stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=120, check=False, env={**os.environ, **(env or {})})
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def trace(self):
        return tool.Trace(self.write({"traceEvents": EVENTS, "otherData": {"threads": "2"}}))

    def test_operations(self):
        totals = tool.operations(self.trace())
        times = {name: total.ns // 1000 for name, total in totals.items()}
        self.assertEqual(times, {
            "ask (rest)": 200,  # 800-1000
            "slice (rest)": 20,  # 0-20
            "resize": 80 + 200,
            "vision (rest)": 10,  # 390-400
            "vision": 300,  # the second, which has nothing inside
            "vit.layer (rest)": 20,  # 100-110, 380-390
            "vit.qkv": 270,
            "decode_frame": 230,
        })
        qkv = totals["vit.qkv"]
        self.assertEqual((qkv.flop, qkv.bytes, len(qkv.spans)), (300000, 54000, 1))
        self.assertEqual(dict(qkv.kernels), {"blocked bf16 avx2": 250000})
        self.assertEqual((totals["resize"].bytes, len(totals["resize"].spans)), (16000, 2))

    def test_idle_times(self):
        idle = {lane.name: tuple(ns // 1000 for ns in tool.idle_times(lane)) for lane in self.trace().lanes}
        self.assertEqual(idle, {
            "main": (850, 50, 100, 0),  # of the matmul's 250 its own share is 200
            "read-ahead": (200, 0, 200, 600),
            "decoder process": (230, 0, 0, 770),
            "OpenMP worker 1": (245, 0, 0, 755),
        })

    def test_critical_path(self):
        path = {key: ns // 1000 for key, ns in tool.critical_path(self.trace()).items()}
        # Back from the end: main's tail and second slice, to 500; the read-ahead lane's resize, to 300; its wait
        # ends with the decoder process, which has been idle since 290 and so hands over to main, to 0.
        self.assertEqual(sum(path.values()), 1000)
        self.assertEqual(path["main", "ask (rest)"], 200)
        self.assertEqual(path["main", "vision"], 300)
        self.assertEqual(path["read-ahead", "resize"], 200)
        self.assertNotIn(("main", "ready.wait"), path)
        # What it stood at before 300: vit.qkv of main from 110 to 300.
        self.assertEqual(path["main", "vit.qkv"], 190)

    def test_lanes_that_wait_for_each_other_come_to_an_end(self):
        trace = tool.Trace(self.write([
            lane(1, "main"), lane(2, "read-ahead"),
            span(1, "ready.wait", "wait", 0, 100, waits_for="read-ahead"),
            span(2, "empty.wait", "wait", 20, 80, waits_for="main"),
        ]))
        path = tool.critical_path(trace)
        self.assertEqual(sum(path.values()), 100_000)
        self.assertEqual(path["read-ahead", "empty.wait"], 80_000)

    def test_what_it_prints(self):
        code, out, err = self.run_tool(self.write({"traceEvents": EVENTS, "otherData": {
            "command": "ask", "threads": "2", "dropped_events": 3}}), "--top", 3)
        self.assertEqual((code, err), (0, ""))
        self.assertIn("1.000 ms, 15 spans in 4 lanes, command ask, threads 2", out)
        rows = {line.split()[0]: line.split() for line in out.splitlines() if line.startswith("  ")}
        # 300,000 FLOP and 54,000 bytes in 270 us.
        self.assertEqual(rows["vit.qkv"], ["vit.qkv", "0.270", "1", "27.0", "1.11", "0.20", "blocked", "bf16",
                                           "avx2"])
        self.assertEqual(rows["read-ahead"], ["read-ahead", "0.200", "0.000", "0.200", "0.600", "80.0"])
        self.assertIn("Top operations (3 of 8)", out)
        self.assertIn("3 events found no room", out)
        self.assertNotIn("oneDNN", out)

    def test_time_in_onednn_is_told(self):
        events = [lane(1, "main"), span(1, "matmul", "kernel", 0, 40, kernel="onednn")]
        self.assertIn("0.040 ms in oneDNN", self.run_tool(self.write(events))[1])

    def test_bad_input(self):
        for data, says in (("{", "not JSON"), ("[]", "no spans"), ("{}", "no list of trace events"), ("3", "no list"),
                           ("[1]", "no list"), ('[{"ph": "X", "name": "a", "ts": 1}]', "'dur'"),
                           ([lane(1, "main"), span(1, "a", "stage", 0, 10), span(1, "b", "stage", 5, 10)],
                            "lane 'main': 'b' ends after 'a' around it")):
            code, out, err = self.run_tool(self.write(data))
            self.assertEqual((code, out), (1, ""), data)
            self.assertEqual(err.count("\n"), 1, err)
            self.assertTrue(err.startswith("trace_summary.py: ") and says in err, err)
        code, _, err = self.run_tool(self.dir / "nowhere.json")
        self.assertEqual((code, err.count("\n")), (1, 1))
        self.assertIn("nowhere.json", err)

    def test_without_matplotlib_it_says_so(self):
        (self.dir / "matplotlib.py").write_text("raise ImportError('no such module')\n")
        code, out, err = self.run_tool(self.write(EVENTS), "--png", self.dir / "out.png",
                                       env={"PYTHONPATH": str(self.dir)})
        self.assertEqual(code, 1)
        self.assertIn("Critical path", out)
        self.assertIn("python3-matplotlib", err)
        self.assertFalse((self.dir / "out.png").exists())

    def test_draws_where_matplotlib_is(self):
        picture = self.dir / "out.png"
        code, _, err = self.run_tool(self.write(EVENTS), "--png", picture)
        if importlib.util.find_spec("matplotlib") is None:
            self.assertIn("python3-matplotlib", err)
        else:
            self.assertEqual(code, 0, err)
            self.assertEqual(picture.read_bytes()[:8], b"\x89PNG\r\n\x1a\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
