"""Remake tests/goldens/chatglm2: a small SentencePiece model, what the sentencepiece package makes of texts
with it, and conversations with the random models of ChatGLM2 and ChatGLM3.

    python tools/make_chatglm2_goldens.py            tokenizer.json and chats.json
    python tools/make_chatglm2_goldens.py --train    tokenizer.model before them (then the seeds of
                                                     tools/random_chatglm2.py may have to be searched again)

tokenizer.model is trained as the published one describes itself: BPE with byte fallback, single digits, no
normalisation, a dummy prefix, white space kept.

tokenizer.json holds {"encode": [{text, ids}], "decode": [{ids, text}]}, without special tokens.

chats.json holds, by model, "prompts": [{messages: [[role, text], ...], ids}], what the published code makes
of a conversation told at once; and "turns": [{question, prompt_ids, answer_ids, answer, margin}], one
conversation, its keys and values kept: prompt_ids are what a turn adds behind the answer before. That is
build_stream_inputs of ChatGLM2. Of ChatGLM3 it is build_chat_input without [gMASK] and sop, which its
stream_chat writes once more in the middle when it is given keys and values, unlike with a history. Answers
end after MAX_NEW_TOKENS; the last token of an answer is then fed before the next turn's prompt.

needs: tools/requirements-golden.txt
"""

import argparse
import io
import json
import pathlib
import random
import tempfile

import make_random_model
import random_models
import random_weights
import reference
import sentencepiece
import torch

REPOSITORY = pathlib.Path(__file__).resolve().parent.parent
FOLDER = REPOSITORY / "tests" / "goldens" / "chatglm2"
MODEL = FOLDER / "tokenizer.model"
MAX_NEW_TOKENS = 5

SENTENCES = """\
[Round 1] 问：你好 答：你好，很高兴见到你。
[Round 2] 问：红色的圆向哪里移动？ 答：红色的圆向右移动。
[Round 3] 问：视频里有什么？ 答：视频里有一个蓝色的正方形。
What color is the square? The square is blue.
Which way does the red circle move? The red circle moves to the right.
Where is the green triangle going? The green triangle is going down.
How many objects are there? There are two objects, a ring and a cross.
Describe the video. A yellow square moves left on a grey background.
Answer in one word. Hello world, how are you today?
The ring is moving up and then to the left; the star stays where it is.
这是一个测试。我们在学习语言模型。今天天气很好。
请用一个词回答。请描述这个视频。这个正方形是什么颜色？
"""
TEXTS = [
    "", " ", "  ", "\n", "\n\n", "\t", " \n ", "a", " a", "a ", "a  b   c", "Hello world", " Hello  world ",
    "What color is the square?", "The red circle moves to the right.\nThen it stops.\n", "007 3.14159 x2",
    "你好", "红色的圆向右移动。", "问：你好\n\n答：", "日本語 한국어 Ελληνικά русский", "\U0001f600 \u2764\ufe0f e\u0301 \u00e9",
    "\u2581 \u2581\u2581a", "ﬁ Ａ １ ⅷ", "a\u00a0b\u3000c", "<s></s><unk>", "[gMASK]sop", "<|user|>\nhi<|assistant|>",
    "<0x41>", "tab\tand\r\nreturn", "\x00\x01\x7f", "[Round 1]\n\n问：What is it?\n\n答：A ring.\n\n[Round 2]\n\n问：哪里？\n\n答：",
    "!" * 40, "the " * 60, "   leading and trailing   ",
]  # fmt: skip
# Told at once: (role, text).
CONVERSATIONS = [
    [("user", "你好")],
    [("user", "What color is the square?"), ("assistant", "Blue."), ("user", "And the ring?")],
    [("user", " a\n"), ("assistant", "\nb "), ("user", "c"), ("assistant", ""), ("user", "d  e")],
]
SYSTEM = [("system", "Answer in one word."), ("user", "红色的圆向哪里移动？")]
QUESTIONS = ["Which way?", "你好", "How many objects are there?"]


def train() -> None:
    model = io.BytesIO()  # not a file: its name would be in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(SENTENCES.splitlines()), model_writer=model, vocab_size=560,
        model_type="bpe", byte_fallback=True, split_digits=True, character_coverage=0.999,
        normalization_rule_name="identity", remove_extra_whitespaces=False, add_dummy_prefix=True,
        allow_whitespace_only_pieces=True, hard_vocab_limit=False, num_threads=1,
    )  # fmt: skip
    MODEL.write_bytes(model.getvalue())


def tokenizer_goldens() -> None:
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(MODEL))
    encode = [dict(text=text, ids=pieces.encode(text)) for text in TEXTS]
    rng = random.Random(1)
    lists = [case["ids"] for case in encode] + [case["ids"][1:] for case in encode]
    lists += [[rng.randrange(259, pieces.vocab_size()) for _ in range(rng.randrange(1, 12))] for _ in range(20)]
    decode = [dict(ids=ids, text=pieces.decode(ids)) for ids in lists]
    made_by = f"tools/make_chatglm2_goldens.py, sentencepiece {sentencepiece.__version__}"
    lines = [",\n".join(json.dumps(case) for case in cases) for cases in (encode, decode)]
    (FOLDER / "tokenizer.json").write_text(
        f'{{"made_by": "{made_by}", "pieces": {pieces.vocab_size()},\n'
        f'"encode": [\n{lines[0]}\n],\n"decode": [\n{lines[1]}\n]}}\n'
    )


def told_at_once(model, messages) -> list[int]:
    """The published code's ids of messages, the last of them the question."""
    if model.third:
        return model.tokenizer.prefix() + model.tokenizer.messages(messages)
    texts = [text for _, text in messages]
    return model.tokenizer.rounds(texts[-1], list(zip(texts[0:-1:2], texts[1:-1:2])))


def turns(model) -> list[dict]:
    """The conversation of QUESTIONS, greedily."""
    tokens, out, unfed = model.tokenizer, [], []
    for n, question in enumerate(QUESTIONS):
        if n == 0:
            prompt = told_at_once(model, [("user", question)])
        else:
            prompt = unfed + (
                tokens.messages([("user", question)]) if model.third else tokens.next_round(n + 1, question)
            )
        logits = [model.model(torch.tensor(prompt), fresh=n == 0)[0]]
        answer = [int(logits[0].argmax())]
        while len(answer) < MAX_NEW_TOKENS and answer[-1] not in model.eos_token_ids():
            logits.append(model.model(torch.tensor(answer[-1:]), fresh=False)[0])
            answer.append(int(logits[-1].argmax()))
        unfed = [] if answer[-1] in model.eos_token_ids() else answer[-1:]
        best = torch.stack(logits).topk(2).values
        margin = ((best[:, 0] - best[:, 1]) / torch.stack(logits).abs().amax(1)).min()
        out.append(dict(question=question, prompt_ids=prompt, answer_ids=answer,
                        answer=tokens.decode(answer).strip(), margin=round(float(margin), 4)))  # fmt: skip
    return out


def chats() -> None:
    document = {}
    for name in sorted(n for n in random_models.MODELS if n.startswith(("chatglm2", "chatglm3"))):
        with tempfile.TemporaryDirectory() as folder:
            random_weights.write_model(make_random_model.load_spec(name), pathlib.Path(folder))
            model = reference.load(pathlib.Path(folder))
        told = CONVERSATIONS + ([SYSTEM] if model.third else [])
        prompts = [dict(messages=m, ids=told_at_once(model, m)) for m in told]
        document[name] = dict(prompts=prompts, turns=turns(model))
        print(name, "smallest margin", min(turn["margin"] for turn in document[name]["turns"]))
    lines = []
    for name, model in document.items():
        parts = [",\n".join(json.dumps(case) for case in model[key]) for key in ("prompts", "turns")]
        lines.append(f'"{name}": {{"prompts": [\n{parts[0]}\n],\n"turns": [\n{parts[1]}\n]}}')
    (FOLDER / "chats.json").write_text("{\n" + ",\n".join(lines) + "\n}\n")


def main() -> None:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--train", action="store_true", help="tokenizer.model too")
    a = p.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    if a.train:
        train()
    tokenizer_goldens()
    chats()


if __name__ == "__main__":
    main()
