#!/usr/bin/env python3
"""Seeds for the fuzz targets, from what the repository has: tools/make_fuzz_seeds.py FOLDER

Writes FOLDER/<target>/<seed>. What the inputs mean is said in tests/fuzz/<target>_fuzz.cc.
"""
import base64
import json
import pathlib
import struct
import sys

SOURCE = pathlib.Path(__file__).resolve().parent.parent
GOLDENS = SOURCE / "tests/goldens"
DEMO = SOURCE / "models/demo"
MOST_BYTES = 30_000  # of a media seed


def safetensors_seeds():
    def file(tensors, metadata=None):
        header, data = {}, b""
        if metadata:
            header["__metadata__"] = metadata
        for name, dtype, shape, n in tensors:
            header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(data), len(data) + n]}
            data += bytes(range(n % 256)) + bytes(n - n % 256)
        text = json.dumps(header, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        return struct.pack("<Q", len(text)) + text + data

    yield "empty", file([])
    yield "scalar", file([("a", "F32", [], 4)], {"format": "pt"})
    kinds = [("F32", 4), ("F16", 2), ("BF16", 2), ("I64", 8), ("I32", 4), ("U8", 1), ("F64", 8),
             ("BOOL", 1), ("F8_E4M3", 1)]
    yield "dtypes", file([(f"t{i}", dtype, [2, 3], 6 * size) for i, (dtype, size) in enumerate(kinds)])
    yield "zero", file([("a", "F32", [0, 5], 0), ("b", "U8", [1, 1, 1, 1, 1, 1, 1, 3], 3)])
    yield "golden", (GOLDENS / "random_groups3_f32_text.safetensors").read_bytes()
    index = {"metadata": {"total_size": 16}, "weight_map": {"a": "one.safetensors", "b": "two.safetensors"}}
    yield "index.json", json.dumps(index).encode()
    index["weight_map"]["c"] = "../one.safetensors"
    yield "outside.json", json.dumps(index).encode()


def gguf_seeds():
    def text(s):
        return struct.pack("<Q", len(s)) + s.encode()

    def file(tensors, values=b"", n_values=0, version=3, alignment=32):
        infos, data = b"", b""
        for name, kind, sizes, n in tensors:
            infos += text(name) + struct.pack(f"<I{len(sizes)}QIQ", len(sizes), *sizes, kind, len(data))
            data += bytes(range(n % 256)) + bytes(n - n % 256)
            data += bytes(-len(data) % alignment)
        head = b"GGUF" + struct.pack("<IQQ", version, len(tensors), n_values) + values + infos
        return head + bytes(-len(head) % alignment) + data

    yield "empty", file([])
    yield "golden", (GOLDENS / "gguf/types.gguf").read_bytes()
    yield "two", file([("a", 0, [3, 2], 24), ("b", 8, [32, 2], 68)], version=2)
    yield "unknown", file([("a", 10, [256], 84), ("b", 0, [1], 4)])
    aligned = text("general.alignment") + struct.pack("<II", 4, 64)
    yield "aligned", file([("a", 0, [1], 4), ("b", 1, [1], 2)], aligned, 1, alignment=64)
    names = text("names") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b")
    yield "array", file([], names, 1)


def config_seeds():
    def merged(files):
        settings = {}
        for name, value in files.items():
            if name in ("config.json", "generation_config.json", "preprocessor_config.json",
                        "video_preprocessor_config.json", "processor_config.json"):
                settings |= value
        return json.dumps(settings).encode()

    yield "demo", merged({p.name: json.loads(p.read_text()) for p in DEMO.glob("*config.json")})
    for path in sorted((GOLDENS / "models").glob("*.json")):
        yield path.stem, merged(json.loads(path.read_text())["files"])
    video = json.loads((DEMO / "video_preprocessor_config.json").read_text())
    yield "processor", json.dumps({"video_processor": video, "image_processor": video}).encode()


def small_tokenizer():
    """A tokenizer.json with the bytes and a few merges; its vocabulary is most of a real one."""
    data = json.loads((DEMO / "tokenizer.json").read_text())
    merges = data["model"]["merges"][:6]
    vocab = {k: v for k, v in data["model"]["vocab"].items() if v < 256}
    for merge in merges:
        pair = merge.split(" ") if isinstance(merge, str) else merge
        vocab.setdefault("".join(pair), data["model"]["vocab"]["".join(pair)])
    data["model"] |= {"vocab": vocab, "merges": merges}
    data["added_tokens"] = data["added_tokens"][:3]
    return data


def tokenizer_seeds():
    data = small_tokenizer()
    yield "tokenizer.json", json.dumps(data, ensure_ascii=False).encode()
    pairs = [m.split(" ") if isinstance(m, str) else m for m in data["model"]["merges"]]
    data["model"]["merges"] = pairs
    yield "pairs.json", json.dumps(data).encode()
    merges = "#version: 0.2\n" + "".join(" ".join(p) + "\n" for p in pairs)
    vocab = json.dumps(data["model"]["vocab"], ensure_ascii=False)
    yield "merges", f"{vocab}\0{merges}".encode()
    added = json.dumps({t["content"]: t["id"] for t in data["added_tokens"]})
    config = (DEMO / "tokenizer_config.json").read_text()
    yield "ranks", (GOLDENS / "tiktoken" / "qwen.tiktoken").read_bytes()
    yield "all", f"{vocab}\0{merges}\0{added}\0{config}".encode()


def sentencepiece_seeds():
    def varint(v):
        out = b""
        while v >= 0x80:
            out += bytes([v & 0x7F | 0x80])
            v >>= 7
        return out + bytes([v])

    def field(number, value):
        return varint(number << 3 | 2) + varint(len(value)) + value

    def number(number, value):
        return varint(number << 3) + varint(value)

    def piece(text, score, kind=1):
        return field(1, field(1, text.encode()) + varint(2 << 3 | 5) + struct.pack("<f", score) + number(3, kind))

    def charsmap():
        units = [0x80000000] * 768  # "A" becomes "a", as in tokenizer_sentencepiece_test.cc
        units[0], units[256 + 65], units[512] = 256 << 10, 0x341 << 10 | 0x100 | 65, 0x80000000
        return struct.pack("<I768I", 768 * 4, *units) + b"a\0"

    pieces = piece("<unk>", 0, 2) + piece("<s>", 0, 3) + piece("</s>", 0, 3)
    pieces += piece("\u2581", -2) + piece("\u2581a", -1) + piece("a", -3) + piece("b", -3) + piece("ab", -4)
    pieces += piece("<x>", 0, 4)
    all_bytes = b"".join(piece(f"<0x{b:02X}>", 0, 6) for b in range(256))
    for name, kind in (("unigram", 1), ("bpe", 2), ("word", 3), ("char", 4)):
        yield name, pieces + field(2, number(3, kind)) + field(3, field(1, b"x") + number(3, 1) + number(4, 0))
    yield "bytes", pieces + all_bytes + field(2, number(3, 2) + number(35, 1)) + field(3, field(1, b"x"))
    yield "charsmap", pieces + field(2, number(3, 1)) + field(3, field(1, b"x") + field(2, charsmap()))


def prompt_seeds():
    cases = json.loads((GOLDENS / "tokenizer.json").read_text())["encode"]
    texts = [case["text"] for case in cases if "text" in case]
    for i, text in enumerate(texts[::12]):
        yield f"text{i}", b"\1\0" + text.encode()[:400] + b"\0"
    yield "turns", b"\1\2be brief\0\0\xf0\x08what <|im_end|>\0\xf1\x04and?\0\1well\0\0<|vision_start|>\0"
    yield "role", b"\0\3x\0"


def media_seeds():
    for folder in (SOURCE / "tests/media", GOLDENS / "media"):
        for path in sorted(folder.iterdir()):
            yield path.name, path.read_bytes()[:MOST_BYTES]
    for name, content, *_ in json.loads((GOLDENS / "preprocess.json").read_text())["images"]:
        yield name, base64.b64decode(content)


def remote_decoder_seeds():
    INFO, TABLE, FRAME, END, FAILED, DIED = range(4, 10)

    def text(value):
        return struct.pack("<Q", len(value)) + value

    def message(kind, request, body):
        return struct.pack("<BBH", kind, request, len(body)) + body

    def info(kind, streams=1):
        body = struct.pack("<i", kind) + text(b"mp4") + struct.pack("<ddi4q", 0, 2, 0, 48, 64, 48, 64)
        body += struct.pack("<Q", streams)
        for i in range(streams):
            body += struct.pack("<i", i) + b"".join(map(text, (b"video", b"h264", b"yuv420p", b"tv", b"bt709", b"", b"")))
            body += struct.pack("<qqiBdBqqqBdBdid", 64, 48, 90 * i, 0, 25.0, 1, 8, 1, 25, 1, 0.0, 1, 0.32, 8, 1.0)
        return message(INFO, 1, body)

    def table(n):
        body = struct.pack(f"<Q{n}d", n, *(i / 25 for i in range(n)))
        body += struct.pack(f"<Q{n}q", n, *range(n)) + struct.pack(f"<Q{n}B", n, *([1] + [0] * (n - 1)))
        return message(TABLE, 2, body + struct.pack("<ddBQ", n / 25, 25.0, 0, 1) + text(b"a warning"))

    def frames(request, indices):
        out = b""
        for i, index in enumerate(indices):
            out += message(FRAME, request, struct.pack("<I4x3q7d2q", i % 2, 48, 64, index, *([1.0] * 7), i, 0))
        return out + message(END, request, struct.pack("<7d2qQ", *([1.0] * 7), 4, 0, 1) + text(b"lost a frame"))

    yield "video", info(1, 2) + table(8) + frames(3, (0, 1, 2)) + frames(4, (0, 2, 5, 7))
    yield "image", info(0) + frames(2, (0,)) + frames(3, (0,))
    yield "failed", message(FAILED, 1, struct.pack("<i", 5) + text(b"clip: over the limit"))
    yield "failed_later", info(1) + table(3) + message(FAILED, 3, struct.pack("<i", 3) + text(b"clip: broken"))
    yield "died", info(1) + message(DIED, 0, struct.pack("<i", 11))
    yield "raw", b"\xff" + struct.pack("<IIQ", FAILED, 1, 13) + struct.pack("<i", 5) + text(b"x")


def draws(state: int) -> bytes:
    """160 bytes to draw from."""
    out = bytearray()
    for _ in range(160):
        state = state * 6364136223846793005 + 1442695040888963407 & (1 << 64) - 1
        out.append(state >> 56)
    return bytes(out)


def numbered_seeds():
    """For targets whose inputs are choices and numbers: each choice, with bytes to draw from."""
    for choice in range(12):
        yield f"choice{choice}", bytes([choice]) + draws(choice + 1)


def kernels_seeds():
    """The last choice, products with ggml's types, begins at 0xe0."""
    yield from numbered_seeds()
    for number, name in enumerate(("q8_0", "q4_0")):
        yield f"ggml_{name}", bytes([0xE0, number]) + draws(number + 22)


SEEDS = {
    "safetensors": safetensors_seeds, "gguf": gguf_seeds, "config": config_seeds, "tokenizer": tokenizer_seeds,
    "sentencepiece": sentencepiece_seeds, "prompt": prompt_seeds, "media": media_seeds,
    "remote_decoder": remote_decoder_seeds, "seek": numbered_seeds, "resize": numbered_seeds,
    "kernels": kernels_seeds,
}


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    for target, seeds in SEEDS.items():
        folder = pathlib.Path(sys.argv[1]) / target
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in seeds():
            (folder / name).write_bytes(content)


if __name__ == "__main__":
    main()
