"""Remake tests/goldens/chatglm: a small ice_text.model, what the sentencepiece package and the text rules
of tokenization_chatglm.py make of texts with it, and conversations with the random models of ChatGLM.

    python tools/make_chatglm_goldens.py            tokenizer.json and chats.json
    python tools/make_chatglm_goldens.py --train    ice_text.model before them (then the seeds of
                                                    tools/random_chatglm.py may have to be searched again)

ice_text.model is put together as the published one: <unk>, <s>, </s>, <pad>, <n>, a unigram model of text,
then [MASK] and its kin as control pieces, <|tab|> and <|blank_2|> to <|blank_80|>, and the 256 bytes.
It does not normalise: the published one's nmt_nfkc takes 240 kB.

tokenizer.json holds {"encode": [{text, ids}], "decode": [{ids, text}]} without image tokens.

chats.json holds, by model, "turns": [{question, prompt_ids, answer_ids, answer, margin}], one conversation.
Each turn's prompt is written anew from the rounds before, as chat() of modeling_chatglm.py does. Answers
end after MAX_NEW_TOKENS.

needs: tools/requirements-golden.txt
"""

import argparse
import io
import json
import pathlib
import tempfile

import make_random_model
import random_models
import random_weights
import reference
import reference_chatglm
import sentencepiece
import torch

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "tests" / "goldens" / "chatglm"
MODEL = FOLDER / "ice_text.model"
MAX_NEW_TOKENS = 5
TEXT_PIECES = 190  # with the five before them
CONTROL, USER_DEFINED, BYTE = 3, 4, 6  # types of pieces

SENTENCES = """\
[Round 0] 问：你好 答：你好，很高兴见到你。
[Round 1] 问：红色的圆向哪里移动？ 答：红色的圆向右移动。
[Round 2] 问：视频里有什么？ 答：视频里有一个蓝色的正方形。
What color is the square? The square is blue.
Which way does the red circle move? The red circle moves to the right.
Where is the green triangle going? The green triangle is going down.
How many objects are there? There are two objects, a ring and a cross.
Describe the video. A yellow square moves left on a grey background.
Answer in one word. Hello world, how are you today?
The ring is moving up and then to the left; the star stays where it is.
这是一个测试。我们在学习语言模型。今天天气很好。
请用一个词回答。请描述这个视频。这个正方形是什么颜色？
0 1 2 3 4 5 6 7 8 9 . , ; : ? ! ' " ( ) [ ] < > | / - + = a b c d e f g h i j k l m n o p q r s t u v w x y z
"""
TEXTS = [
    "", " ", "  ", "\n", "\n\n", "\t", " \n ", "a", " a", "a ", "a  b   c", "Hello world", " Hello  world ",
    "What color is the square?", "The red circle moves to the right.\nThen it stops.\n", "007 3.14159 x2",
    "你好", "红色的圆向右移动。", "问：你好\n答：", "日本語 한국어 Ελληνικά русский", "\U0001f600 \u2764\ufe0f e\u0301 \u00e9",
    "\u2581 \u2581\u2581a", "a\u00a0b\u3000c", "<s></s><unk><pad>", "[gMASK]<sop>", "[MASK] <eop>", "<n>a<|tab|>b<|blank_3|>c",
    "<0x41>", "tab\tand\r\nreturn", "[Round 0]\n问：What is it?\n答：A ring.\n[Round 1]\n问：哪里？\n答：",
    "!" * 40, "the " * 60, "   leading and trailing   ", " " * 79 + "a", " " * 80, " " * 81 + "b", "c" + " " * 162 + "d",
    "  \n\t  x\n    return y\n", "<|blank_81|>",
]  # fmt: skip
QUESTIONS = ["Which way?", "你好", "How many objects\n  are there?"]


def field(number: int, value: bytes) -> bytes:
    """A length-delimited field of a protocol buffer."""
    size, head = len(value), bytes([number << 3 | 2])
    while size > 127:
        head, size = head + bytes([size & 127 | 128]), size >> 7
    return head + bytes([size]) + value


def piece(text: str, kind: int) -> bytes:
    """SentencePiece {piece = 1, score = 2: 0, type = 3} of ModelProto's field 1."""
    return field(1, field(1, text.encode()) + b"\x15\0\0\0\0" + bytes([3 << 3, kind]))


def train() -> None:
    model = io.BytesIO()  # not a file: its name would be in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES.splitlines()),
        model_writer=model,
        model_type="unigram",
        vocab_size=TEXT_PIECES,
        character_coverage=1.0,
        normalization_rule_name="identity",
        pad_id=3,
        user_defined_symbols=["<n>"],
        num_threads=1,
        minloglevel=2,
    )
    data = model.getvalue()
    names = ["[MASK]", "[gMASK]", "[sMASK]", "<unused_0>", "<sop>", "<eop>", "<ENC>", "<dBLOCK>"]
    data += b"".join(piece(name, CONTROL) for name in names)
    blanks = [f"<|blank_{i}|>" for i in range(2, reference_chatglm.BLANKS + 1)]
    data += b"".join(piece(name, USER_DEFINED) for name in ["<|tab|>", *blanks])
    data += b"".join(piece(f"<0x{i:02X}>", BYTE) for i in range(256))
    data += field(2, b"\x98\x02\x01")  # trainer_spec.byte_fallback = 35: true, merged into the first
    MODEL.write_bytes(data)


def tokenizer_goldens() -> None:
    tokens = reference_chatglm.Tokenizer(MODEL, 0)
    encode = [dict(text=text, ids=tokens.encode(text)) for text in TEXTS]
    # sentencepiece drops every space that a text begins with, reelm one: only U+2581 makes several.
    told = [case["ids"] for case in encode if not case["text"].startswith("\u2581")]
    lists = told + [ids[1:] for ids in told]
    decode = [dict(ids=ids, text=tokens.decode(ids)) for ids in lists]
    made_by = f"tools/make_chatglm_goldens.py, sentencepiece {sentencepiece.__version__}"
    lines = [",\n".join(json.dumps(case) for case in cases) for cases in (encode, decode)]
    (FOLDER / "tokenizer.json").write_text(
        f'{{"made_by": "{made_by}", "pieces": {tokens.pieces.vocab_size()},\n'
        f'"encode": [\n{lines[0]}\n],\n"decode": [\n{lines[1]}\n]}}\n'
    )


def turns(model) -> list[dict]:
    """The conversation of QUESTIONS, greedily."""
    tokens, history, out = model.tokenizer, [], []
    for question in QUESTIONS:
        prompt = tokens.prompt(reference_chatglm.rounds(question, history))
        logits = [model.model(torch.tensor(prompt), fresh=True)[0]]
        answer = [int(logits[0].argmax())]
        while len(answer) < MAX_NEW_TOKENS and answer[-1] not in model.eos_token_ids():
            logits.append(model.model(torch.tensor(answer[-1:]), fresh=False)[0])
            answer.append(int(logits[-1].argmax()))
        text = tokens.decode(answer).strip()
        history.append((question, text))
        best = torch.stack(logits).topk(2).values
        margin = ((best[:, 0] - best[:, 1]) / torch.stack(logits).abs().amax(1)).min()
        out.append(dict(question=question, prompt_ids=prompt, answer_ids=answer, answer=text,
                        margin=round(float(margin), 4)))  # fmt: skip
    return out


def chats() -> None:
    document = {}
    for name in sorted(n for n, m in random_models.MODELS.items() if m.family == "chatglm"):
        with tempfile.TemporaryDirectory() as folder:
            random_weights.write_model(make_random_model.load_spec(name), pathlib.Path(folder))
            document[name] = turns(reference.load(pathlib.Path(folder)))
        print(name, "smallest margin", min(turn["margin"] for turn in document[name]))
    lines = []
    for name, told in document.items():
        cases = ",\n".join(json.dumps(turn) for turn in told)
        lines.append(f'"{name}": {{"turns": [\n{cases}\n]}}')
    (FOLDER / "chats.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--train", action="store_true", help="ice_text.model too")
    a = p.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if a.train:
        train()
    tokenizer_goldens()
    chats()


if __name__ == "__main__":
    main()
