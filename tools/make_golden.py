"""Write the reference's numbers for one prompt as a golden that `reelm verify` checks.

Runs transformers with qwen-vl-utils (or with its own processors: --reference hf; text models need
neither) on MEDIA and QUESTION with greedy decoding and stores every stage: patches, token ids, M-RoPE positions, vision
rows, logits, generated ids. tests/goldens/README.md defines the file, tensor by tensor.

    make_golden.py models/demo clip.mp4 "Describe the video." golden.safetensors
    make_golden.py models/demo a.mp4 picture.png "What is this?" golden.safetensors --frames 4
    make_golden.py models/demo "Hello" golden.safetensors            (no media)

needs: tools/requirements-golden.txt
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import pathlib
import struct
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
# A committed golden keeps rows at a fixed stride of tensors that are larger than this.
MAX_BYTES = {
    "pixel_values": 64_000,
    "vision_embeds": 48_000,
    "vision_layers": 64_000,
    "decoder_layers": 64_000,
}
NAMES = {"torch.float32": "F32", "torch.int64": "I64"}


def write_safetensors(path: pathlib.Path, tensors: dict, metadata: dict[str, str]) -> None:
    """A safetensors file whose bytes depend on its content only (the library's do not)."""
    header, at = {"__metadata__": dict(sorted(metadata.items()))}, 0
    for name, t in tensors.items():
        end = at + t.numel() * t.element_size()
        shape = list(t.shape)
        header[name] = dict(dtype=NAMES[str(t.dtype)], shape=shape, data_offsets=[at, end])
        at = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            f.write(t.contiguous().numpy().tobytes())


def subsampled(name: str, tensor, full: bool):
    """(rows to store, stride): everything, or every stride-th row from row 0."""
    size = tensor.numel() * tensor.element_size()
    stride = 1 if full else -(-size // MAX_BYTES[name])
    if stride > 1:
        stride |= 1  # odd, so that all four places of a 2x2 merge are met
    return tensor[::stride].clone(), stride


def layer_tensors(result, full: bool) -> tuple[dict, dict]:
    """What is behind each layer, every stride-th row; the decoder's last layer in its last row only
    (reelm computes no other)."""
    tensors, metadata = {}, {}
    layers = {"vision_layers": result.vision_layers, "decoder_layers": result.decoder_layers[:-1]}
    for name, stack in layers.items():
        if stack is not None and len(stack):
            rows, metadata[f"{name}_row_stride"] = subsampled(name, stack.transpose(0, 1), full)
            tensors[name] = rows.transpose(0, 1).contiguous()
    tensors["decoder_last_layer"] = result.decoder_layers[-1, -1]
    return tensors, metadata


def relative(path: pathlib.Path, golden: pathlib.Path) -> str:
    """Relative to the golden when both are in the repository, else absolute."""
    path, folder = path.resolve(), golden.resolve().parent
    if path.is_relative_to(REPOSITORY) and folder.is_relative_to(REPOSITORY):
        return pathlib.PurePath(os.path.relpath(path, folder)).as_posix()
    return str(path)


def golden_tensors(result, media, full: bool, layers: bool) -> tuple[dict, dict]:
    """The tensors of a golden and the metadata that says how they were cut."""
    import torch

    tensors, metadata = {}, {}
    if result.pixel_values is not None:
        pixels, embeds = result.pixel_values, result.vision_embeds
        tensors["pixel_values"], stride = subsampled("pixel_values", pixels, full)
        tensors["pixel_values_row_sums"] = pixels.double().sum(1).float()
        metadata["pixel_values_rows"], metadata["pixel_values_row_stride"] = len(pixels), stride
        tensors["vision_embeds"], stride = subsampled("vision_embeds", embeds, full)
        metadata["vision_embeds_rows"], metadata["vision_embeds_row_stride"] = len(embeds), stride
        grids = {k: [g for kind, g in result.grids if kind == k] for k in ("video", "image")}
        for kind, rows in grids.items():
            if rows:
                tensors[f"{kind}_grid_thw"] = torch.tensor(rows)
        tensors["grid_thw"] = torch.tensor([g for _, g in result.grids])
        tensors["frame_indices"] = torch.tensor(sum([m.frame_indices for m in media], []))
    tensors["input_ids"] = result.input_ids
    tensors["position_ids"] = result.position_ids
    tensors["logits"] = result.logits
    tensors["generated_ids"] = result.generated_ids
    tensors["final_logits"] = result.step_logits[-1]
    best = result.step_logits.topk(2, dim=-1).values
    tensors["generated_margins"] = best[:, 0] - best[:, 1]
    if layers:
        more, cut = layer_tensors(result, full)
        tensors, metadata = tensors | more, metadata | cut
    return {k: v.contiguous() for k, v in tensors.items()}, metadata


def golden_metadata(a, options, result, media) -> dict[str, str]:
    """What a golden says about itself; values that are not text are JSON."""
    import reference

    asked = dataclasses.asdict(options)
    asked["from"], asked["to"] = asked.pop("start"), asked.pop("end")
    described = []
    for m, (_, grid) in zip(media, result.grids):
        described.append(dict(path=relative(m.path, a.out), **m.describe(), grid_thw=grid))
    ended = result.generated_ids[-1].item() in result.eos_token_ids
    facts = dict(
        reelm_golden="1",
        reference=options.reference,
        dtype=options.dtype,
        model=a.model.resolve().name,
        question=a.question,
        prompt=result.prompt,
        answer=result.answer,
        options=asked,
        limits=result.limits,
        media=described,
        max_new_tokens=options.max_new_tokens,
        eos_token_ids=result.eos_token_ids,
        stopped="eos" if ended else "length",
        rope_delta=result.rope_delta,
        position_rule=a.positions,
        position_rules_differ=result.positions_differ,
        versions=reference.versions(),
    )
    weights = sorted(a.model.glob("*.safetensors"))
    facts["weights_sha256"] = {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in weights}
    if a.model.resolve().is_relative_to(REPOSITORY) and not a.spec:
        facts["model_path"] = relative(a.model, a.out)
    if a.spec:
        facts["model_spec"] = relative(a.spec, a.out)
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in facts.items()}


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model", type=pathlib.Path, metavar="MODEL_DIR")
    p.add_argument("media", nargs="*", metavar="MEDIA", help="PATH, image:PATH or video:PATH")
    p.add_argument("question", metavar="QUESTION")
    p.add_argument("out", type=pathlib.Path, metavar="OUT.safetensors")
    p.add_argument("--fps", type=float, help="frames a second to sample")
    p.add_argument("--frames", type=int, help="number of frames to sample, in place of --fps")
    p.add_argument("--min-frames", type=int)
    p.add_argument("--max-frames", type=int)
    p.add_argument("--min-pixels", type=int, help="of one frame or image after resizing")
    p.add_argument("--max-pixels", type=int)
    p.add_argument("--from", type=float, dest="start", metavar="SECONDS")
    p.add_argument("--to", type=float, dest="end", metavar="SECONDS")
    p.add_argument("--reference", choices=("qwen-vl-utils", "hf"), default="qwen-vl-utils")
    p.add_argument("--max-new-tokens", type=int, default=16)
    p.add_argument("--dtype", choices=("f32", "bf16"), default="f32")
    p.add_argument("--system", help="system prompt in place of the chat template's own")
    p.add_argument(
        "--positions",
        choices=("paper", "installed"),
        default="paper",
        help="M-RoPE rule after a video: see tools/reference_vl.py",
    )
    p.add_argument(
        "--layers", action="store_true", help="store what is behind every layer (verify --layers)"
    )
    p.add_argument("--full", action="store_true", help="store every row of the large tensors")
    p.add_argument("--spec", type=pathlib.Path, help="spec of a random model, to be recorded")
    return p


def options(a: argparse.Namespace):
    """The arguments that Reference.run takes."""
    import reference

    names = [f.name for f in dataclasses.fields(reference.Options)]
    return reference.Options(**{n: getattr(a, n) for n in names})


def main():
    a = parser().parse_args()
    if a.frames is not None and a.fps is not None:
        sys.exit("make_golden.py: --fps and --frames exclude one another")
    import reference  # after the arguments: it takes seconds

    asked = options(a)
    try:
        media = [reference.open_media(m) for m in a.media]
        result = reference.load(a.model, a.dtype, a.positions).run(media, a.question, asked)
    except reference.InputError as e:
        sys.exit(f"make_golden.py: {e}")
    tensors, cut = golden_tensors(result, media, a.full, a.layers)
    metadata = golden_metadata(a, asked, result, media) | {k: str(v) for k, v in cut.items()}
    write_safetensors(a.out, tensors, metadata)
    grids = " ".join("x".join(map(str, g)) for _, g in result.grids) or "no media"
    print(
        f"{a.out.name}: {a.out.stat().st_size} bytes, grid {grids}, {len(result.input_ids)} prompt "
        f"tokens, smallest margin {tensors['generated_margins'].min():.3f}, {result.answer!r}"
    )


if __name__ == "__main__":
    main()
