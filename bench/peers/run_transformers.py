#!/usr/bin/env python3
"""transformers against reelm: ViT of one slice, prefill, decoding; Qwen2-VL-2B sizes, random weights.

UNTESTED: nobody has run this script to its end yet.

Run by hand, never by the tests:  REELM_BENCH=build/release/bench/reelm-bench python run_transformers.py --dtype bf16
Needs torch and transformers (tools/requirements-golden.txt) and 10 GB of memory. One after the other in one
session, first transformers, then reelm, so that both see the same machine.
"""

from __future__ import annotations

import argparse

import torch
import transformers

import common

GRID = (1, 26, 46)


def sizes_2b() -> dict:
    """config.json of Qwen2-VL-2B-Instruct."""
    return {
        "vision_config": {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "in_channels": 3,
                          "hidden_size": 1536, "patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2},
        "text_config": {"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28,
                        "num_attention_heads": 12, "num_key_value_heads": 2, "vocab_size": 151936,
                        "max_position_embeddings": 32768, "rms_norm_eps": 1e-6, "rope_theta": 1e6,
                        "tie_word_embeddings": True,
                        "rope_scaling": {"type": "mrope", "rope_type": "default", "mrope_section": [16, 24, 24]}},
        "tie_word_embeddings": True,
    }


def make_model(dtype: torch.dtype):
    config = transformers.Qwen2VLConfig(**sizes_2b())
    torch.manual_seed(0)
    torch.set_default_dtype(dtype)
    with torch.device("meta"):
        model = transformers.Qwen2VLForConditionalGeneration(config)
    # to_empty leaves buffers unset too, which are computed anew; weights are small random numbers.
    model = model.to_empty(device="cpu").eval()
    for parameter in model.parameters():
        parameter.data.uniform_(-0.02, 0.02)
    for module in model.modules():
        for name, buffer in module.named_buffers(recurse=False):
            half = buffer.numel() * 2
            if name.endswith("inv_freq"):
                theta = 10000.0 if "Vision" in type(module).__name__ else 1e6
                buffer.data = 1.0 / theta ** (torch.arange(0, half, 2, dtype=torch.float) / half)
    return model


@torch.inference_mode()
def measure(model, prompt: int, new_tokens: int, repeat: int) -> dict[str, float]:
    t, h, w = GRID
    pixels = torch.randn(t * h * w, 1176, dtype=next(model.parameters()).dtype)
    grid = torch.tensor([GRID])
    ids = torch.arange(prompt).unsqueeze(0)
    out = {"vit": common.median_ms(lambda: model.model.visual(pixels, grid_thw=grid), repeat)}
    out["prefill"] = common.median_ms(lambda: model(input_ids=ids, use_cache=True, logits_to_keep=1), repeat)
    state = model(input_ids=ids, use_cache=True, logits_to_keep=1)
    token = torch.tensor([[7]])
    position = [prompt]

    def step():
        at = torch.full((3, 1, 1), position[0])
        model(input_ids=token, past_key_values=state.past_key_values, position_ids=at, use_cache=True)
        position[0] += 1

    out["decode"] = common.median_ms(step, new_tokens, warm_up=2)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dtype", choices=("bf16", "f32"), default="bf16")
    parser.add_argument("--prompt-tokens", type=int, default=512)
    parser.add_argument("--new-tokens", type=int, default=16)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, load {common.load_average()}",
          flush=True)
    model = make_model(torch.bfloat16 if args.dtype == "bf16" else torch.float32)
    theirs = measure(model, args.prompt_tokens, args.new_tokens, args.repeat)
    del model
    report = common.reelm_bench(
        "--model", "synthetic:qwen2-vl-2b", "--dtype", args.dtype, "--grid", ",".join(map(str, GRID)),
        "--prompt-tokens", args.prompt_tokens, "--new-tokens", args.new_tokens, "--repeat", args.repeat,
        "--threads", args.threads)
    common.print_ratios("transformers", [
        ("ViT, one slice 26x46", theirs["vit"], common.stage_ms(report, "vit")),
        (f"prefill, {args.prompt_tokens} tokens", theirs["prefill"], common.stage_ms(report, "prefill")),
        ("decode a token", theirs["decode"], common.stage_ms(report, "decode_token")),
    ])


if __name__ == "__main__":
    main()
