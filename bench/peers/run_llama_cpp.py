#!/usr/bin/env python3
"""llama.cpp's llama-bench against reelm: prefill of 512 tokens, decoding. UNTESTED: nobody has run this script yet.

Run by hand, never by the tests. Building llama.cpp from PyPI's source package (about 9 minutes on 2 cores):
  pip download --no-deps --no-binary :all: llama-cpp-python && tar xf llama_cpp_python-*.tar.gz
  cmake -S llama_cpp_python-*/vendor/llama.cpp -B llama-build -DCMAKE_BUILD_TYPE=Release && \\
    cmake --build llama-build --target llama-bench
It needs a GGUF file of Qwen2-VL-2B's sizes (random weights will do: write a Hugging Face directory with
transformers and run vendor/llama.cpp/convert_hf_to_gguf.py on it; llama-quantize makes Q8_0 and Q4_0 of it).
Then:  REELM_BENCH=... python run_llama_cpp.py llama-build/bin/llama-bench model-bf16.gguf --dtype bf16
"""

from __future__ import annotations

import argparse
import json
import subprocess

import common


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("llama_bench", type=common.existing)
    parser.add_argument("gguf", type=common.existing)
    parser.add_argument("--dtype", default="bf16", help="of reelm")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    found = json.loads(subprocess.run(
        [args.llama_bench, "-m", args.gguf, "-p", str(args.prompt_tokens), "-n", str(args.new_tokens), "-r",
         str(args.repeat), "-t", str(args.threads), "-o", "json"], check=True, stdout=subprocess.PIPE).stdout)
    rate = {("decode" if row["n_gen"] else "prefill"): row["avg_ts"] for row in found}
    report = common.reelm_bench(
        "--model", "synthetic:qwen2-vl-2b", "--dtype", args.dtype, "--grid", "1,2,2", "--prompt-tokens",
        args.prompt_tokens, "--new-tokens", args.new_tokens, "--repeat", args.repeat, "--threads", args.threads)
    common.print_ratios("llama.cpp", [
        (f"prefill, {args.prompt_tokens} tokens", args.prompt_tokens / rate["prefill"] * 1e3,
         common.stage_ms(report, "prefill")),
        ("decode a token", 1e3 / rate["decode"], common.stage_ms(report, "decode_token")),
    ])


if __name__ == "__main__":
    main()
