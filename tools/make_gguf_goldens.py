#!/usr/bin/env python3
"""tests/goldens/gguf: what the reader of GGUF files and its types are held against.

    make_gguf_goldens.py         write types.gguf and types.safetensors again; the same bytes

types.gguf is written by the package gguf of llama.cpp: metadata of every type, and a tensor of every type reelm
reads, of blocks of random bits with scales that are no NaN. types.safetensors is what gguf.quants makes of them.

needs: numpy, gguf 0.19, safetensors
"""

from __future__ import annotations

import pathlib

import gguf
import numpy
import safetensors.numpy

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests" / "goldens" / "gguf"
Kind = gguf.GGMLQuantizationType

# Where a block has its f16 scales, in bytes.
SCALES = {
    Kind.Q8_0: [0], Kind.Q4_0: [0], Kind.Q4_1: [0, 2], Kind.Q5_0: [0], Kind.Q5_1: [0, 2],
    Kind.Q4_K: [0, 2], Kind.Q5_K: [0, 2], Kind.Q6_K: [208],
}  # fmt: skip
EXTREMES = [0.0, 6e-8, 3e-6, -1.0, 0.07, 65504.0]  # two subnormals


def blocks(kind: Kind, rows: int, per_row: int) -> numpy.ndarray:
    """Random bytes, [rows, bytes of a row]."""
    rng = numpy.random.default_rng([2026, kind])
    size = gguf.GGML_QUANT_SIZES[kind][1]
    out = rng.integers(0, 256, (rows * per_row, size), dtype=numpy.uint8)
    for at in SCALES[kind]:
        scales = rng.normal(0, 0.1, len(out)).astype(numpy.float16)
        scales[: len(EXTREMES)] = numpy.array(EXTREMES, numpy.float16)[: len(out)]
        out[:, at : at + 2] = scales.view(numpy.uint8).reshape(-1, 2)
    return out.reshape(rows, per_row * size)


def add_metadata(writer: gguf.GGUFWriter) -> None:
    writer.add_name("types")
    writer.add_uint8("a.u8", 255)
    writer.add_int8("a.i8", -128)
    writer.add_uint16("a.u16", 65535)
    writer.add_int16("a.i16", -32768)
    writer.add_uint32("a.u32", 4294967295)
    writer.add_int32("a.i32", -2147483648)
    writer.add_uint64("a.u64", 2**64 - 1)
    writer.add_int64("a.i64", -(2**63))
    writer.add_float32("a.f32", 1e-6)
    writer.add_float64("a.f64", 1e-300)
    writer.add_bool("a.yes", True)
    writer.add_bool("a.no", False)
    writer.add_string("a.string", "Ġhéllo")
    writer.add_array("a.strings", ["a", "", "Ġb c"])
    writer.add_array("a.numbers", [1, -2, 3])
    writer.add_array("a.floats", [0.5, 0.48145466])
    writer.add_array("a.flags", [True, False])


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    writer = gguf.GGUFWriter(str(FOLDER / "types.gguf"), "none")
    add_metadata(writer)
    expected = {}
    rng = numpy.random.default_rng(1)
    plain = rng.normal(0, 1, (5, 3, 2, 7)).astype(numpy.float32)
    for kind in (Kind.F32, Kind.F16, Kind.BF16):
        data = gguf.quants.quantize(plain, kind)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind).reshape(plain.shape)
    for kind in SCALES:
        data = blocks(kind, rows=3, per_row=4 if gguf.GGML_QUANT_SIZES[kind][0] == 32 else 2)
        writer.add_tensor(kind.name, data, raw_dtype=kind)
        expected[kind.name] = gguf.quants.dequantize(data, kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    safetensors.numpy.save_file(expected, FOLDER / "types.safetensors")


if __name__ == "__main__":
    main()
