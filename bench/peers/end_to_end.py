#!/usr/bin/env python3
"""A whole clip and 128 new tokens: transformers and llama.cpp against reelm; Qwen2-VL-2B sizes, random weights.

Run by hand, never by the tests. Needs what pyav_torchvision.py and run_transformers.py need; llama.cpp is measured
when its program and files are given (see run_llama_cpp.py and make_gguf.py; it starts ffmpeg from the PATH):

  python end_to_end.py clip.mp4 --reelm-bench build/release/bench/reelm-bench
  python end_to_end.py clip.mp4 --mtmd-cli llama-build/bin/llama-mtmd-cli --gguf SCRATCH/text-bf16.gguf \\
    --mmproj SCRATCH/mmproj-f16.gguf --reelm-bench build/release/bench/reelm-bench

All of them: file to last token with the model loaded, fps 2, the frames of one size, about as many prompt tokens.
transformers decodes until --seconds are over; what is left of the tokens is then reckoned with the median step, and
that is said.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import time

import common

WORDS = 64  # around the vision tokens, as reelm-bench has them


class Transformers:
    """PyAV + torchvision + transformers."""

    def __init__(self, args, grid: list[int]):
        import pyav_torchvision as video
        import random_qwen2_vl as random_model
        self.args, self.video, self.torch = args, video, random_model.torch
        self.torch.set_num_threads(args.threads)
        self.name = f"transformers {random_model.transformers.__version__}, {args.peer_dtype}"
        t, h, w = grid
        self.size = (h * 14, w * 14)
        self.frames = video.fps_2_frames(video.count_frames(args.clip), t)
        self.grid = self.torch.tensor([grid])
        vision = t * h * w // 4
        common.say(f"making the model in {args.peer_dtype}")
        self.model = random_model.make(args.model, args.peer_dtype)
        c = self.model.config
        words = list(range(100, 100 + WORDS - 2))
        self.ids = self.torch.tensor([[*words[:4], c.vision_start_token_id, *[c.video_token_id] * vision,
                                       c.vision_end_token_id, *words[4:]]])
        self.kinds = (self.ids == c.video_token_id).int() * 2  # 2 is a video
        self.notes: list[str] = []

    def run(self) -> float:
        """Milliseconds."""
        torch = self.torch
        with torch.inference_mode():
            begin = time.perf_counter()
            frames = self.video.read_frames(self.args.clip, self.frames, self.args.threads)
            patches = self.video.patchify(self.video.resize(frames, *self.size))
            out = self.model(input_ids=self.ids, pixel_values_videos=patches, video_grid_thw=self.grid,
                             mm_token_type_ids=self.kinds, use_cache=True, logits_to_keep=1)
            cache, steps = out.past_key_values, []
            common.say(f"  transformers: first token after {time.perf_counter() - begin:.1f} s")
            while len(steps) < self.args.new_tokens:
                started = time.perf_counter()
                token = out.logits[:, -1].argmax(-1, keepdim=True)
                out = self.model(input_ids=token, past_key_values=cache, use_cache=True)
                steps.append(time.perf_counter() - started)
                if time.perf_counter() - begin > self.args.seconds and len(steps) >= 4:
                    break
            total = time.perf_counter() - begin
        if not out.logits.isfinite().all():
            common.fail("transformers' logits are not finite")
        left = self.args.new_tokens - len(steps)
        if left > 0:
            self.notes.append(f"transformers decoded {len(steps)} of {self.args.new_tokens} tokens; the rest is "
                              f"reckoned with its median step of {statistics.median(steps) * 1e3:.0f} ms")
        return (total + left * statistics.median(steps)) * 1e3


class LlamaCpp:
    """llama-mtmd-cli, from the line it writes when everything is loaded to its end."""

    LOADED = "main: loading model:"  # written when the model and its contexts have been made

    def __init__(self, args, grid: list[int]):
        t, h, w = grid
        self.name = f"llama.cpp, {os.path.basename(args.gguf)}"
        self.new_tokens = args.new_tokens
        self.notes: list[str] = []
        tokens = h * w // 4
        self.command = [args.mtmd_cli, "-m", args.gguf, "--mmproj", args.mmproj, "--video", args.clip, "--video-fps",
                        "2", "--image-min-tokens", str(tokens), "--image-max-tokens", str(tokens), "-n",
                        str(args.new_tokens), "-t", str(args.threads), "-c", str(t * tokens + 1024 + args.new_tokens),
                        "--temp", "0", "--ignore-eos", "-lv", "3", "-p", "word " * (WORDS - 20)]

    def run(self) -> float:
        common.say("$ " + " ".join(self.command[:-1]))
        begin, last, chunks = None, "", 0
        process = subprocess.Popen(self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.STDOUT, text=True, errors="replace")
        for line in process.stdout:
            last = line.strip() or last
            if self.LOADED in line:
                begin = time.perf_counter()
            chunks += "batch encoding done in" in line
        code, end = process.wait(), time.perf_counter()
        if code != 0 or begin is None:
            common.fail(f"llama-mtmd-cli failed ({code}): {last}")
        if not self.notes:
            self.notes.append(f"llama.cpp encoded the video in {chunks} pieces")
        return (end - begin) * 1e3


def main() -> None:
    parser = common.arguments(__doc__, repeat=2, runs=1)
    parser.add_argument("clip", type=common.existing, metavar="CLIP")
    parser.add_argument("--new-tokens", type=common.positive, default=128, metavar="N")
    parser.add_argument("--dtype", type=lambda text: text.split(","), default=["bf16"], metavar="DTYPE[:VISION],...",
                        help="of reelm, as reelm-bench takes --dtype and --vision-dtype; several take turns (bf16)")
    parser.add_argument("--peer-dtype", choices=("bf16", "f32"), default="bf16" if common.native_bf16() else "f32",
                        help="of transformers (bf16 where the machine multiplies it, else f32)")
    parser.add_argument("--seconds", type=float, default=600, metavar="S", help="limit of a run of transformers (600)")
    parser.add_argument("--no-transformers", action="store_true", help="llama.cpp alone")
    parser.add_argument("--mtmd-cli", metavar="PATH", help="llama-mtmd-cli")
    parser.add_argument("--gguf", type=common.existing, metavar="FILE", help="its text model")
    parser.add_argument("--mmproj", type=common.existing, metavar="FILE", help="its vision tower")
    args = parser.parse_args()
    if len({bool(args.mtmd_cli), bool(args.gguf), bool(args.mmproj)}) > 1:
        common.fail("--mtmd-cli, --gguf and --mmproj go together")
    if args.no_transformers and not args.mtmd_cli:
        common.fail("nothing to measure: --no-transformers, and no --mtmd-cli")
    if args.mtmd_cli:
        args.mtmd_cli = common.program(args.mtmd_cli, "see run_llama_cpp.py --help")
        common.program("ffmpeg", "llama.cpp starts it to read videos")

    def reelm(model: str, new_tokens: int, dtype: str) -> dict:
        text, _, vision = dtype.partition(":")
        return common.reelm_bench(args, "--model", model, "--dtype", text, "--vision-dtype", vision or "bf16", "--media",
                                  args.clip, "--new-tokens", new_tokens)

    grid = reelm("synthetic:tiny", 1, "bf16")["work"]["grid_thw"]
    peers = [LlamaCpp(args, grid)] if args.mtmd_cli else []
    if not args.no_transformers:
        peers.append(Transformers(args, grid))
    whole = f"the clip, {args.new_tokens} new tokens"

    def rows_of(ms) -> common.Times:
        return {f"{whole}, {p.name} / reelm {dtype}": ms(p, dtype) for p in peers for dtype in args.dtype}

    def peer() -> common.Times:
        times = {p: statistics.median(p.run() for _ in range(args.runs)) for p in peers}
        return rows_of(lambda p, _: times[p])

    def ours() -> common.Times:
        times = {dtype: reelm(args.model, args.new_tokens, dtype)["totals"]["end_to_end_ms"] for dtype in args.dtype}
        return rows_of(lambda _, dtype: times[dtype])

    rows = common.in_turn(args, peer, ours)
    notes = [note for p in peers for note in dict.fromkeys(p.notes)]
    common.finish(args, "; ".join(p.name for p in peers),
                  {"model": args.model, "clip": args.clip, "grid": grid, "new_tokens": args.new_tokens, "reelm_dtype": ",".join(args.dtype)}, rows,
                  notes)


if __name__ == "__main__":
    main()
