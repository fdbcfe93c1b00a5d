"""Weights that Python and C++ make alike, bit for bit, from a small spec.

The tests need models of many shapes and must not need Python or large files, so a spec in
tests/goldens/models/NAME.json says what a model consists of, and this module and its C++ twin
(tests/support/random_model.cc) write the same directory from it.

A spec holds

    name, about         text
    seed                a non-negative integer
    dtype               "F32", "F16" or "BF16", of every tensor
    tokenizer           "tokenizer.json" or "vocab.json" (then merges.txt too), cut from models/demo;
                        or "qwen.tiktoken", which is that of tests/goldens/tiktoken;
                        or "tokenizer.model", which is that of tests/goldens/chatglm2;
                        or "ice_text.model", which is that of tests/goldens/chatglm
    files               {file name: JSON document, or a string that is the file's whole text}
    weights             [{file, bytes, fnv1a64, tensors: [{name, shape, gain, bias}]}]

The elements of a tensor, in row-major order, i counted from 0, all integers 64-bit unsigned and
wrapping:

    s   = fnv1a64 of the bytes of "<seed>/<name>", seed in decimal, name as in the weight file
    z   = s + (i + 1) * 0x9E3779B97F4A7C15
    z   = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z   = (z ^ (z >> 27)) * 0x94D049BB133111EB
    z   =  z ^ (z >> 31)                                     (this is splitmix64)
    r   = (z >> 48) - 32768                                  signed, -32768 .. 32767
    x   = (r * gain + bias * 4194304) / 4194304              gain 0 .. 127, bias 0 or 1

so a tensor is uniform in bias +- gain/128, with standard deviation gain / 128 / sqrt(3). The
numerator has at most 24 bits: x is exact in f32, in any order of evaluation. F16 and BF16 are x
rounded to nearest, ties to even.

fnv1a64: h = 0xCBF29CE484222325; for each byte b: h = (h ^ b) * 0x100000001B3.

A weight file is a safetensors file: 8 bytes little-endian length of the header; the header, JSON
without spaces, padded with spaces to a multiple of 8 bytes:

    {"__metadata__":{"format":"pt"},"NAME":{"dtype":"F32","shape":[2,3],"data_offsets":[0,24]},...}

with the tensors in the spec's order; then the tensors' bytes, little-endian, without gaps.
`bytes` and `fnv1a64` (16 hexadecimal digits) are of the whole file. With more than one weight file
model.safetensors.index.json maps names to files.
"""

from __future__ import annotations

import json
import math
import pathlib
import struct

import numpy as np

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
DEMO_TOKENIZER = REPOSITORY / "models" / "demo" / "tokenizer.json"
ICE_TEXT = REPOSITORY / "tests" / "goldens" / "chatglm" / "ice_text.model"
SENTENCEPIECE = REPOSITORY / "tests" / "goldens" / "chatglm2" / "tokenizer.model"
TIKTOKEN_RANKS = REPOSITORY / "tests" / "goldens" / "tiktoken" / "qwen.tiktoken"
MASK = (1 << 64) - 1
ITEM_SIZE = {"F32": 4, "F16": 2, "BF16": 2}


def fnv1a64(data: bytes) -> int:
    """FNV-1a, 64 bits; see the module's text."""
    h = 0xCBF29CE484222325
    for b in data:
        h = ((h ^ b) * 0x100000001B3) & MASK
    return h


def values(seed: int, name: str, shape: list[int], gain: int, bias: int) -> np.ndarray:
    """The elements of one tensor, f32."""
    s = np.uint64(fnv1a64(f"{seed}/{name}".encode()))
    with np.errstate(over="ignore"):
        i = np.arange(1, math.prod(shape) + 1, dtype=np.uint64)
        z = s + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    r = (z >> np.uint64(48)).astype(np.int32) - 32768
    n = r * np.int32(gain) + np.int32(bias << 22)
    return (n.astype(np.float32) * np.float32(2.0**-22)).reshape(shape)


def encode(x: np.ndarray, dtype: str) -> bytes:
    """Little-endian bytes of f32 values in this dtype."""
    if dtype == "F32":
        return x.astype("<f4").tobytes()
    if dtype == "F16":
        return x.astype("<f2").tobytes()
    bits = x.astype("<f4").view("<u4")
    rounded = bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))
    return (rounded >> np.uint32(16)).astype("<u2").tobytes()


def weight_file(spec: dict, tensors: list[dict]) -> bytes:
    """The bytes of one weight file of a spec."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for t in tensors:
        end = at + math.prod(t["shape"]) * ITEM_SIZE[spec["dtype"]]
        header[t["name"]] = dict(dtype=spec["dtype"], shape=t["shape"], data_offsets=[at, end])
        at = end
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [struct.pack("<Q", len(text)), text]
    for t in tensors:
        x = values(spec["seed"], t["name"], t["shape"], t["gain"], t["bias"])
        parts.append(encode(x, spec["dtype"]))
    return b"".join(parts)


def _write_json(path: pathlib.Path, document) -> None:
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write_files(spec: dict, out: pathlib.Path, check: bool = True) -> None:
    """Write what a spec holds but the tokenizer. check: the weights must have its checksum."""
    out.mkdir(parents=True, exist_ok=True)
    weight_map, total = {}, 0
    for w in spec["weights"]:
        data = weight_file(spec, w["tensors"])
        if check and (len(data), f"{fnv1a64(data):016x}") != (w["bytes"], w["fnv1a64"]):
            raise ValueError(f"{spec['name']}: {w['file']} does not have the checksum of its spec")
        (out / w["file"]).write_bytes(data)
        weight_map |= {t["name"]: w["file"] for t in w["tensors"]}
        total += sum(math.prod(t["shape"]) for t in w["tensors"]) * ITEM_SIZE[spec["dtype"]]
    if len(spec["weights"]) > 1:
        index = dict(metadata=dict(total_size=total), weight_map=weight_map)
        _write_json(out / "model.safetensors.index.json", index)
    for name, document in spec["files"].items():
        if isinstance(document, str):
            (out / name).write_text(document, encoding="utf-8")
        else:
            _write_json(out / name, document)


def write_model(spec: dict, out: pathlib.Path, check: bool = True) -> None:
    """Write the model directory of a spec; as write_files()."""
    write_files(spec, out, check)
    for whole in (TIKTOKEN_RANKS, SENTENCEPIECE, ICE_TEXT):
        if spec["tokenizer"] == whole.name:
            (out / whole.name).write_bytes(whole.read_bytes())
            return
    tokenizer = json.loads(DEMO_TOKENIZER.read_text(encoding="utf-8"))
    if spec["tokenizer"] == "tokenizer.json":
        _write_json(out / "tokenizer.json", tokenizer)
    else:
        _write_json(out / "vocab.json", tokenizer["model"]["vocab"])
        merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["model"]["merges"]]
        text = "#version: 0.2\n" + "".join(m + "\n" for m in merges)
        (out / "merges.txt").write_text(text, encoding="utf-8")
