"""Remake tests/goldens/tokenizer.json: ids and texts of the `tokenizers` library for the demo tokenizer;
and tiktoken/: qwen.tiktoken, a small rank file (the demo's tokens, shuffled), and goldens.json, what
tiktoken makes of the same texts with it.

    python tools/make_tokenizer_goldens.py

Each case of "encode" has the text (or its bytes as "hex", when they are not UTF-8), how many "times"
it is repeated, its ids when special tokens are recognised ("ids") and when they are not ("plain",
left out when equal). Of repeated texts there is only the number of ids and their 64-bit FNV-1a hash.

needs: tools/requirements-golden.txt
"""

import base64
import json
import pathlib
import random

import tiktoken
import tokenizers

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
TOKENIZER = REPOSITORY / "models" / "demo" / "tokenizer.json"
GOLDENS = REPOSITORY / "tests" / "goldens"
TIKTOKEN = GOLDENS / "tiktoken"

NEWER_MARKS = "a\u1df6\u0323 a\u0898\u0301 \U000110a5\U000110ba"  # than the NFC in use
TEXTS = [
    "", " ", "  ", "   ", "\t", "\n", "\r", "\r\n", "\n\n", " \n", "\n ", " \n \n  x", "\t\n\t a",
    "Hello world", " Hello  world ", "Hello\nworld\n", "a\r\nb\r\n\r\n  c", "x   y", "x \ty", "  \r\n  \n\r  z",
    "Which direction does the red circle move?", "What color is the square?", "Describe the video.",
    "system\nYou are a helpful assistant.", "The blue ring moves left; two objects, 3 colours.",
    "0", "007", "3.14159", "1,234,567", "x2y3", "2\u00b2 \u00bd \u2167 \u0663\u0664 \u4e09",  # numbers of all kinds
    "I'm we'll don't it's you've they're he'd", "I'M WE'LL DON'T IT'S YOU'VE THEY'RE HE'D",
    "'s'S't'T're'Re'rE'RE've'VE'm'M'll'lL'Ll'LL'd'D", "x'\u017f x'\u017fs '\u017ft \u017f", "'sand 'tis 'llama 'relay 'days",
    "' s ' t '' ''s '''s", "\u2019s \u2019t \u02bcs", "'K 'v 'r 'l 'x '1 '\u00e9", "a's\nb't c're",
    "e\u0301 \u00e9 E\u0301 n\u0303 o\u0308\u0304 A\u030a \u212b \u2126 \u212a",  # composing and singletons
    "\u1100\u1161\u11a8 \uac01 \uac00\u11a8 \u1112\u1161\u11ab\u1100\u1173\u11af",  # Hangul
    "q\u0323\u0307 q\u0307\u0323 \u1e9b\u0323 \u0344 \u0958 \u2adc", "\u304b\u3099\u306f\u309a \u30ab\u3099",  # order, exclusions
    "\u0301a \u0301\u0323 a\u200d\u0301", NEWER_MARKS,
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u65e5\u672c\u8a9e\u306e\u30c6\u30b9\u30c8", "\ud55c\uad6d\uc5b4 \ud14d\uc2a4\ud2b8",
    "\u0627\u0644\u0633\u0644\u0627\u0645 \u0639\u0644\u064a\u0643\u0645", "\u05e9\u05c1\u05b8\u05dc\u05d5\u05b9\u05dd", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\u043d\u0435\u0449\u043e \u043d\u0430 \u0411\u044a\u043b\u0433\u0430\u0440\u0441\u043a\u0438", "\u0130I\u0131i \u1e9e\u00df \u01c5 \ufb01 \ufb06",
    "\U0001f600 \U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 \U0001f3f3\ufe0f\u200d\U0001f308 \U0001f44d\U0001f3fd \U0001f1e9\U0001f1ea \u2764\ufe0f 1\ufe0f\u20e3",
    "a\u00a0b \u00a0c\u00a0\u00a0 d", "a\u3000b\u3000\u3000c", "a\u0085b \u0085\u0085 c", "a\u2028b\u2029c\u2003 d\u200ae\u202ff\u205fg\u1680h",
    "a\u200bb \u200b \ufeffc \u180ed", "\x1c\x1d\x1e\x1f \x00\x01 \x7f", "a\x0bb\x0cc \x0b\x0c\n", "tab\tseparated\tvalues\t\t",
    "#include <stdio.h>\n\nint main() {\n    return 0;\n}\n", "a+b=c; x!=y && z->w", "...!!!???\n\n...", " !\r\n\r\n?", "https://example.org/a?b=c&d=%20",
    "\u1c89\ua7dc\U000105c0 \U00010d40 \U0002ebf0\U0002ee5d\U0002ee5e \U000323b0",  # letters and numbers of Unicode 15.1 and 16; one of 17
    "\ue000\U000f0000 \ufffd \uffff \U0010ffff", "\u0378 \u0e00 \u2fe0",  # private, unassigned
    "<|im_start|>user\nhi<|im_end|>\n", "<|im_start|><|im_end|>", "<|vision_start|><|video_pad|><|vision_end|>What?",
    "<|endoftext|>", " <|im_end|> ", "<|im_end|", "<|im_<|im_end|>", "<|IM_END|>", "<|im_end|><", "<<|im_end|>>", "e\u0301<|im_end|>\u0301e",
    "<|im_start|>assistant\n'<|im_end|>s", "a<|endoftext|>b<|endoftext|>", "<tool_call>", "</s><s>[INST]", "<|video_pad|>" * 5,
]
BYTES = [b"\xff", b"a\xc3", b"\xc3(", b"\xe2\x82", b"\xe2\x82x", b"\xf0\x9f\x98", b"\xf0\x9f\x98\x80\xf0\x9f", b"\xed\xa0\x80", b"\xc0\xaf",
         b"\xf4\x90\x80\x80", b"\xe0\x80\x80", b"\x80\x80<|im_end|>\xfe", b"\xf8\x88\x80\x80\x80", b"ok \xe9t\xe9"]
LONG = [("a", 10_000), ("the", 4_000), (" ", 10_000), ("\n", 3_000), ("\r\n ", 2_000), ("!", 5_000), ("7", 2_000), ("\u00e9", 3_000),
        ("e\u0301", 2_000), ("'s", 3_000), ("<|im_end|>", 500), ("\u3000", 3_000), ("ab cd  ", 1_000), ("a\u0301\u0323", 1_000)]


def digest(ids):
    """"<number of ids> <FNV-1a of the ids, one 64-bit step an id>"."""
    value = 0xCBF29CE484222325
    for token in ids:
        value = (value ^ token) * 0x100000001B3 % (1 << 64)
    return "%d %016x" % (len(ids), value)


def write_ranks(path):
    """The demo's tokens without the special ones, as a rank file in an order that no training gave: many a
    token is reached in several ways, or in none."""
    document = json.loads(TOKENIZER.read_text())
    special = {t["content"] for t in document["added_tokens"]}
    spellings = sorted(s for s in document["model"]["vocab"] if s not in special)
    random.Random(2).shuffle(spellings)
    alphabet = {spelled: byte for byte, spelled in bytes_to_unicode().items()}
    lines = []
    for rank, spelling in enumerate(spellings):
        token = bytes(alphabet[c] for c in spelling)
        lines.append(base64.b64encode(token).decode() + f" {rank}\n")
    path.write_text("".join(lines))


def bytes_to_unicode():
    """Byte -> character of the byte-level spelling, as GPT-2 has it."""
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in same]
    return {b: chr(b) for b in same} | {b: chr(256 + i) for i, b in enumerate(rest)}


def write_goldens(path, made_by, texts, ids_of, decode, end, largest):
    """Cases of encoding and decoding. ids_of(text, with_specials), decode(ids, skip_special_tokens); `end` is <|im_end|>,
    random ids are below `largest`."""

    def case(key, value, text, times=1):
        shape = digest if times > 1 else list
        out = {key: value, "ids": shape(ids_of(text * times, True))}
        plain = shape(ids_of(text * times, False))
        if plain != out["ids"]:
            out["plain"] = plain
        if times > 1:
            out["times"] = times
        return out

    encode = [case("text", text, text) for text in texts]
    encode += [case("hex", data.hex(), data.decode("utf-8", errors="replace")) for data in BYTES]
    encode += [case("text", text, text, times) for text, times in LONG]

    rng = random.Random(1)
    lists = [[], [end], [0, end, 1], [200, 201, end, 202], [2000, 5, 1 << 19, 6]]
    lists += [[rng.randrange(largest) for _ in range(rng.randrange(1, 12))] for _ in range(60)]
    lists += [[rng.randrange(94, 256) for _ in range(rng.randrange(1, 12))] for _ in range(60)]  # bytes that are not ASCII
    emoji = ids_of("\U0001f600\u20ac\u00e9", True)
    lists += [emoji[:n] for n in range(1, len(emoji))] + [emoji[n:] for n in range(1, len(emoji))]
    cases = [{"ids": ids, "text": decode(ids, False), "skipped": decode(ids, True)} for ids in lists]
    lines = [json.dumps(entry) for entry in encode], [json.dumps(entry) for entry in cases]
    path.write_text('{"made_by": "tools/make_tokenizer_goldens.py, %s",\n"encode": [\n%s\n],\n"decode": [\n%s\n]}\n'
                    % (made_by, ",\n".join(lines[0]), ",\n".join(lines[1])))
    print(path, path.stat().st_size, "bytes")


def main():
    demo = tokenizers.Tokenizer.from_file(str(TOKENIZER))

    def demo_ids(text, specials):
        demo.encode_special_tokens = not specials
        return demo.encode(text, add_special_tokens=False).ids

    write_goldens(GOLDENS / "tokenizer.json", "tokenizers " + tokenizers.__version__, TEXTS, demo_ids,
                  lambda ids, skip: demo.decode(ids, skip_special_tokens=skip), 1012, 1030)

    from reference_qwen import Tokenizer  # takes seconds

    write_ranks(TIKTOKEN / "qwen.tiktoken")
    qwen = Tokenizer(TIKTOKEN / "qwen.tiktoken")
    write_goldens(TIKTOKEN / "goldens.json", "tiktoken " + tiktoken.__version__,
                  [t for t in TEXTS if t != NEWER_MARKS],  # Python's NFC is that of its day
                  qwen.encode, qwen.decode,
                  qwen.special_ids["<|im_end|>"], qwen.encoding.n_vocab)


if __name__ == "__main__":
    main()
