#!/usr/bin/env python3
"""llama.cpp against reelm: prefill and decoding (llama-bench), and the vision tower (llama-mtmd-cli).

Run by hand, never by the tests. Building llama.cpp from PyPI's source package (9 minutes on 2 idle cores):

  pip download --no-deps --no-binary llama-cpp-python llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
  cmake -G Ninja -S llama_cpp_python-*/vendor/llama.cpp -B llama-build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \\
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_SERVER=OFF
  ninja -C llama-build llama-bench llama-mtmd-cli llama-quantize

make_gguf.py makes the files of weights. Then

  python run_llama_cpp.py llama-build/bin/llama-bench SCRATCH/text-bf16.gguf SCRATCH/text-q4_0.gguf \\
    --mtmd-cli llama-build/bin/llama-mtmd-cli --mmproj SCRATCH/mmproj-f16.gguf \\
    --reelm-bench build/release/bench/reelm-bench
"""

from __future__ import annotations

import json
import pathlib
import random
import re
import statistics
import tempfile

import common

ENCODED = re.compile(r"mtmd batch encoding done in (\d+) ms")


def text_times(args, gguf: str) -> common.Times:
    """prefill and a decoded token, by llama-bench, which warms up first."""
    found = json.loads(common.run([args.llama_bench, "-m", gguf, "-p", args.prompt_tokens, "-n", args.new_tokens,
                                   "-r", args.runs, "-t", args.threads, "-o", "json"]).stdout)
    name = pathlib.Path(gguf).stem
    prefill = next(row["avg_ts"] for row in found if row["n_prompt"] and not row["n_gen"])
    decode = next(row["avg_ts"] for row in found if row["n_gen"])
    return {f"prefill, {args.prompt_tokens} tokens, {name}": args.prompt_tokens / prefill * 1e3,
            f"decode a token, {name}": 1e3 / decode}


def write_picture(path: pathlib.Path, height: int, width: int) -> None:
    path.write_bytes(b"P6 %d %d 255\n" % (width, height) + random.Random(0).randbytes(width * height * 3))


def vision_time(args, picture: pathlib.Path, tokens: int) -> float:
    """One picture of the slice's size, once more than --runs; the first is the warm-up."""
    done = common.run([args.mtmd_cli, "-m", args.gguf[0], "--mmproj", args.mmproj, "-t", args.threads, "-n", 1,
                       "-c", 4096 + tokens * (args.runs + 1), "--temp", 0, "--no-warmup", "-p", "What is this?",
                       "--image", ",".join([str(picture)] * (args.runs + 1))])
    times = [int(ms) for ms in ENCODED.findall(done.stderr + done.stdout)]
    if len(times) != args.runs + 1:
        common.fail(f"llama-mtmd-cli told {len(times)} times of encoding, expected {args.runs + 1}")
    return statistics.median(times[1:])


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("llama_bench", metavar="LLAMA-BENCH")
    parser.add_argument("gguf", type=common.existing, nargs="+", metavar="TEXT.gguf")
    parser.add_argument("--mtmd-cli", metavar="PATH", help="llama-mtmd-cli, for the vision tower")
    parser.add_argument("--mmproj", type=common.existing, metavar="FILE", help="its weights")
    parser.add_argument("--grid", default="1,26,46", metavar="1,H,W", help="patches of the vision tower (1,26,46)")
    parser.add_argument("--dtype", default="bf16", help="of reelm, as reelm-bench takes it (bf16)")
    parser.add_argument("--prompt-tokens", type=common.positive, default=512, metavar="N")
    parser.add_argument("--new-tokens", type=common.positive, default=32, metavar="N")
    args = parser.parse_args()
    args.llama_bench = common.program(args.llama_bench, "see --help for building it")
    if bool(args.mtmd_cli) != bool(args.mmproj):
        common.fail("--mtmd-cli and --mmproj go together")
    if args.mtmd_cli:
        args.mtmd_cli = common.program(args.mtmd_cli, "see --help for building it")
    slices, h, w = map(int, args.grid.split(","))
    if slices != 1:
        common.fail("--grid must be of one slice")
    vit = f"ViT, grid {args.grid}"

    def peer() -> common.Times:
        out: common.Times = {}
        for gguf in args.gguf:
            out |= text_times(args, gguf)
        return out | ({vit: vision_time(args, picture, h * w // 4)} if args.mmproj else {})

    def reelm() -> common.Times:
        report = common.reelm_bench(args, "--model", args.model, "--dtype", args.dtype, "--grid",
                                    args.grid, "--prompt-tokens", args.prompt_tokens, "--new-tokens", args.new_tokens)
        out = {vit: common.stage_ms(report, "vit")}
        for gguf in args.gguf:
            name = pathlib.Path(gguf).stem
            out[f"prefill, {args.prompt_tokens} tokens, {name}"] = common.stage_ms(report, "prefill")
            out[f"decode a token, {name}"] = common.stage_ms(report, "decode_token")
        return out

    with tempfile.TemporaryDirectory() as folder:
        picture = pathlib.Path(folder) / "noise.ppm"
        write_picture(picture, h * 14, w * 14)
        rows = common.in_turn(args, peer, reelm)
    common.finish(args, "llama.cpp", {"gguf": args.gguf, "grid": args.grid, "prompt_tokens": args.prompt_tokens,
                                      "new_tokens": args.new_tokens, "reelm_dtype": args.dtype}, rows,
                  [f"reelm in {args.dtype}; llama.cpp as the names of the files say, its vision tower in f16"])


if __name__ == "__main__":
    main()
