#!/usr/bin/env python3
"""OpenVINO against reelm: the vision tower of Qwen2-VL-2B (random weights) over one slice of patches.

Run by hand, never by the tests. Needs openvino, torch and transformers (PyPI) and 10 GB of memory:

  python run_openvino.py --reelm-bench build/release/bench/reelm-bench

transformers' tower is converted with openvino.convert_model for the one grid; OpenVINO computes in bf16 where the
machine multiplies it, else in f32.
"""

from __future__ import annotations

import math

import common

numpy = common.package("numpy")
openvino = common.package("openvino")
import random_qwen2_vl as random_model  # noqa: E402 (after the checks above)

torch = random_model.torch


class Tower(torch.nn.Module):
    """The tower with its grid fixed: [h*w, 1176] -> [h*w/4, 1536]."""

    def __init__(self, visual, grid: tuple[int, int, int]):
        super().__init__()
        self.visual = visual
        self.grid = torch.tensor([grid])

    def forward(self, pixels):
        return self.visual(pixels, grid_thw=self.grid).pooler_output


def convert(model: str, grid: tuple[int, int, int], check: bool):
    """The converted tower, its input, and what torch makes of that input when it is to be checked."""
    visual = random_model.make_tower(model, "f32")
    tower, pixels = Tower(visual, grid).eval(), random_model.made_up_patches(grid)
    with torch.inference_mode():
        expected = tower(pixels).numpy() if check else None
    with torch.no_grad():
        converted = openvino.convert_model(tower, example_input=(pixels,))
    converted.reshape(list(pixels.shape))  # else for any number of patches
    return converted, pixels.numpy(), expected


def compile_tower(converted, precision: str, threads: int):
    core = openvino.Core()
    if precision == "auto":
        precision = "bf16" if "BF16" in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
    settings = {"INFERENCE_PRECISION_HINT": precision, "INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    return core.compile_model(converted, "CPU", settings)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--grid", default="1,26,46", metavar="T,H,W", help="patches (1,26,46)")
    parser.add_argument("--precision", choices=("auto", "bf16", "f32"), default="auto",
                        help="of OpenVINO; auto: bf16 where the machine multiplies it, else f32")
    parser.add_argument("--dtype", default="bf16", help="of reelm, as reelm-bench takes it (bf16)")
    parser.add_argument("--check", action="store_true", help="compare OpenVINO's output with torch's first")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    grid = tuple(map(int, args.grid.split(",")))
    common.say("converting the tower")
    converted, pixels, expected = convert(args.model, grid, args.check)
    compiled = compile_tower(converted, args.precision, args.threads)
    precision = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    del converted
    request = compiled.create_infer_request()
    infer = lambda: request.infer([pixels], share_inputs=True, share_outputs=True)  # noqa: E731
    found = infer()[0]  # also the warm-up
    notes = [f"OpenVINO computes in {precision}, reelm's weights are {args.dtype}"]
    if expected is not None:
        error = numpy.abs(found - expected).max() / numpy.abs(expected).max()
        notes.append(f"largest difference from torch in f32: {error:.2e} of the largest output")
    stage = f"ViT, grid {args.grid}"

    def reelm() -> common.Times:
        report = common.reelm_bench(args, "--model", args.model, "--dtype", args.dtype, "--grid",
                                    args.grid, "--prompt-tokens", math.prod(grid) // 4 + 1, "--new-tokens", 1)
        return {stage: common.stage_ms(report, "vit")}

    rows = common.in_turn(args, lambda: {stage: common.median_ms(infer, args.runs)}, reelm)
    version = openvino.get_version().split("-")[0]
    common.finish(args, f"OpenVINO {version}, {precision}", {"model": args.model, "grid": grid, "reelm_dtype": args.dtype}, rows, notes)


if __name__ == "__main__":
    main()
