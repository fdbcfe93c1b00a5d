#!/usr/bin/env python3
"""transformers against reelm: vision tower over one slice, prefill, decoding; Qwen2-VL-2B sizes, random weights.

Run by hand, never by the tests. Needs torch and transformers (tools/requirements-golden.txt) and 16 GB of memory:

  python run_transformers.py --reelm-bench build/release/bench/reelm-bench

transformers runs in bf16 and in f32, and the faster of the two counts as its best. Where the machine does not multiply
bf16 numbers only f32 is run: torch takes many minutes there; --peer-dtype bf16 insists.
"""

from __future__ import annotations

import common
import random_qwen2_vl as random_model

torch = random_model.torch


class Peer:
    def __init__(self, args, dtype: str):
        self.args, self.dtype = args, dtype
        self.model = random_model.make(args.model, dtype)
        grid = tuple(map(int, args.grid.split(",")))
        self.grid = torch.tensor([grid])
        self.pixels = random_model.made_up_patches(grid).to(random_model.DTYPES[dtype])
        self.ids = (torch.arange(args.prompt_tokens) % (self.model.config.text_config.vocab_size - 4)).unsqueeze(0)

    def encode(self):
        return self.model.model.visual(self.pixels, grid_thw=self.grid).pooler_output

    def prefill(self):
        return self.model(input_ids=self.ids, use_cache=True, logits_to_keep=1)

    @torch.inference_mode()
    def measure(self) -> common.Times:
        out = {"vit": common.median_ms(self.encode, self.args.runs),
               "prefill": common.median_ms(self.prefill, self.args.runs)}
        done = self.prefill()
        if not done.logits.isfinite().all():
            common.fail("transformers' logits are not finite")
        position = self.args.prompt_tokens

        def step():
            nonlocal position
            at = torch.full((3, 1, 1), position)
            self.model(input_ids=torch.tensor([[7]]), past_key_values=done.past_key_values, position_ids=at,
                       use_cache=True)
            position += 1

        out["decode_token"] = common.median_ms(step, self.args.new_tokens)
        return out


def reelm_times(args) -> common.Times:
    report = common.reelm_bench(args, "--model", args.model, "--dtype", args.dtype, "--grid", args.grid,
                                "--prompt-tokens", args.prompt_tokens, "--new-tokens", args.new_tokens)
    return {stage: common.stage_ms(report, stage) for stage in ("vit", "prefill", "decode_token")}


def best_rows(rows: dict[str, list[dict]]) -> list[dict]:
    """For every stage the dtype in which the peer was faster, against all of reelm's turns."""
    out = []
    for alternatives in zip(*rows.values()):
        best = min(alternatives, key=lambda r: r["peer_ms"])
        ours = [ms for r in alternatives for ms in r["reelm_all_ms"]]
        out.append(common.row(best["what"] + ", best", best["peer_all_ms"], ours))
    return out


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--peer-dtype", choices=("bf16", "f32"), action="append",
                        help="of transformers; may be given twice (f32, and bf16 where the machine multiplies it)")
    parser.add_argument("--dtype", default="bf16", help="of reelm, as reelm-bench takes it (bf16)")
    parser.add_argument("--grid", default="1,26,46", metavar="T,H,W", help="patches (1,26,46)")
    parser.add_argument("--prompt-tokens", type=common.positive, default=512, metavar="N",
                        help="transformers: text only; reelm: the grid's are among them (512)")
    parser.add_argument("--new-tokens", type=common.positive, default=16, metavar="N", help="steps of a run (16)")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    names = {"vit": f"ViT, grid {args.grid}", "prefill": f"prefill, {args.prompt_tokens} tokens",
             "decode_token": "decode a token"}
    dtypes = args.peer_dtype or (["bf16", "f32"] if common.native_bf16() else ["f32"])
    rows: dict[str, list[dict]] = {}
    for dtype in dtypes:
        common.say(f"making the model in {dtype}")
        peer = Peer(args, dtype)
        with torch.inference_mode():  # the warm-up
            peer.encode(), peer.prefill()
        rows[dtype] = common.in_turn(args, peer.measure, lambda: reelm_times(args))
        for row in rows[dtype]:
            row["what"] = names[row["what"]]
        del peer
    best = best_rows(rows)
    notes = [] if len(dtypes) > 1 else [f"transformers ran in {dtypes[0]} only"]
    for dtype in dtypes:
        for row in rows[dtype]:
            row["what"] += f", {dtype}"
    every = [row for dtype in dtypes for row in rows[dtype]]
    common.finish(args, f"transformers {random_model.transformers.__version__}, torch {torch.__version__}",
                  {"model": args.model, "grid": args.grid, "prompt_tokens": args.prompt_tokens, "new_tokens": args.new_tokens,
                   "reelm_dtype": args.dtype, "peer_dtypes": dtypes},
                  every + (best if len(dtypes) > 1 else []), notes)


if __name__ == "__main__":
    main()
