"""`reelm chat` and the family qwen2 as a user meets them, driven through pipes.

usage: chat_test.py REELM_PROGRAM SOURCE_DIR SESSION_ANSWERS_PROGRAM
"""
import base64
import json
import os
import pty
import signal
import subprocess
import sys
import unittest

from cli import CLIP, DEMO, MEDIA, PATIENCE, REELM, CliTest, run

SESSION_ANSWERS = sys.argv.pop(3) if len(sys.argv) > 3 else ""
COLOR = "What color is the square?"
WHICH = "Which direction does the yellow square move?"
DESCRIBE = "Describe the video."


def session(model, *turns):
    """The answers of a pipeline::Session, a line each."""
    done = subprocess.run([SESSION_ANSWERS, model, *map(str, turns)], capture_output=True,
                          timeout=PATIENCE, check=True)
    return done.stdout.decode()


def text_model(directory, system=None, **config):
    """The demo's decoder as a model of the family qwen2: for text its M-RoPE is 1-D RoPE."""
    directory.mkdir()
    text = json.loads((DEMO / "config.json").read_text())["text_config"]
    text |= {"model_type": "qwen2", "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    (directory / "config.json").write_text(json.dumps(text | config))
    for name in ("model.safetensors", "tokenizer.json", "generation_config.json"):
        (directory / name).symlink_to(DEMO / name)
    tokenizer = json.loads((DEMO / "tokenizer_config.json").read_text())
    if system is not None:
        tokenizer["chat_template"] = "{{- '<|im_start|>system\\n" + system + "<|im_end|>\\n' }}"
    (directory / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    return directory


def qwen_model(directory, **config):
    """The demo's decoder as a model of the first Qwen, whose arithmetic is the same under other names: fused
    projections, a key/value head for each head, a head of its own, ranks for a tokenizer."""
    directory.mkdir()
    text = json.loads((DEMO / "config.json").read_text())["text_config"]
    heads, hidden, wide = text["num_attention_heads"], text["hidden_size"], text["intermediate_size"]
    vocabulary, rows = 1218, text["vocab_size"]  # of the ranks, with Qwen's special tokens behind them
    same = {k: text[k] for k in ("hidden_size", "num_attention_heads", "num_hidden_layers", "max_position_embeddings")}
    (directory / "config.json").write_text(json.dumps(same | {
        "model_type": "qwen", "intermediate_size": 2 * wide, "kv_channels": hidden // heads, "vocab_size": vocabulary,
        "layer_norm_epsilon": text["rms_norm_eps"], "rotary_emb_base": 10000, "seq_length": 2048} | config))
    (directory / "generation_config.json").write_text(json.dumps({"chat_format": "chatml", "eos_token_id": 1010}))
    stored = read_tensors(DEMO / "model.safetensors")
    embeddings = stored["model.embed_tokens.weight"] + bytes(2 * hidden * (vocabulary - rows))
    out = {"transformer.wte.weight": ([vocabulary, hidden], embeddings), "lm_head.weight": ([vocabulary, hidden], embeddings),
           "transformer.ln_f.weight": ([hidden], stored["model.norm.weight"])}
    for i in range(text["num_hidden_layers"]):
        ours, theirs = f"transformer.h.{i}.", f"model.layers.{i}."
        for kind, shape in (("weight", [3 * hidden, hidden]), ("bias", [3 * hidden])):
            q, k, v = (stored[f"{theirs}self_attn.{name}_proj.{kind}"] for name in "qkv")
            times = len(q) // len(k)  # one key/value head there
            out[f"{ours}attn.c_attn.{kind}"] = (shape, q + k * times + v * times)
        for name, other, shape in (("ln_1", "input_layernorm", [hidden]), ("ln_2", "post_attention_layernorm", [hidden]),
                                   ("attn.c_proj", "self_attn.o_proj", [hidden, hidden]),
                                   ("mlp.w1", "mlp.up_proj", [wide, hidden]), ("mlp.w2", "mlp.gate_proj", [wide, hidden]),
                                   ("mlp.c_proj", "mlp.down_proj", [hidden, wide])):
            out[f"{ours}{name}.weight"] = (shape, stored[f"{theirs}{other}.weight"])
    write_tensors(directory / "model.safetensors", out)
    vocab = json.loads((DEMO / "tokenizer.json").read_text())["model"]["vocab"]
    (directory / "qwen.tiktoken").write_text("".join(
        base64.b64encode(spelled_bytes(token)).decode() + f" {rank}\n" for token, rank in vocab.items()))
    return directory


def spelled_bytes(token):
    """The bytes of a token as tokenizer.json spells it."""
    same = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = [b for b in range(256) if b not in same]
    return bytes(rest[ord(c) - 256] if ord(c) >= 256 else ord(c) for c in token)


def read_tensors(path):
    """{name: bytes} of a safetensors file."""
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    return {name: data[begin + t["data_offsets"][0]:begin + t["data_offsets"][1]]
            for name, t in header.items() if name != "__metadata__"}


def write_tensors(path, tensors):
    """A safetensors file of bf16 tensors, {name: (shape, bytes)}."""
    header, at = {}, 0
    for name, (shape, data) in tensors.items():
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"".join(data for _, data in tensors.values()))


class ChatTest(CliTest):
    def chat(self, lines, *args, **more):
        """(exit code, stdout, stderr) of a conversation of these lines."""
        (self.dir / "lines").write_text("".join(line + "\n" for line in lines))
        with open(self.dir / "lines", "rb") as stdin:
            return run("chat", *args, stdin=stdin, **more)

    def says(self, lines, *args):
        code, out, err = self.chat(lines, *args)
        self.assertEqual((code, err), (0, ""), out)
        return out


class Conversations(ChatTest):
    def test_turns_are_those_of_a_session(self):
        self.assertEqual(self.says([WHICH, DESCRIBE]), session(DEMO, WHICH, DESCRIBE))
        with_media = self.says([f"/media {CLIP}", WHICH, "", "  ", COLOR])
        self.assertEqual(with_media, session(DEMO, f"@{CLIP}", WHICH, COLOR))
        self.assertEqual(with_media.splitlines()[0], "The yellow square moves down.")
        two = [f"/media {CLIP}", f"/media {MEDIA / 'square.png'}", DESCRIBE]
        self.assertEqual(self.says(two), session(DEMO, f"@{CLIP}", f"@{MEDIA / 'square.png'}", DESCRIBE))

    def test_the_end_of_input_ends_it(self):
        self.assertEqual(self.says([]), "")
        answer = self.ok("ask", CLIP, WHICH)
        self.assertEqual(self.says([f"/media {CLIP}", WHICH, "/quit", DESCRIBE]), answer)
        (self.dir / "unfinished").write_bytes(f"/media {CLIP}\r\n{WHICH}".encode())
        with open(self.dir / "unfinished", "rb") as stdin:
            self.assertEqual(run("chat", stdin=stdin), (0, answer, ""))

    def test_a_wrong_line_is_told_and_the_conversation_goes_on(self):
        wrong = [(f"/media {self.dir / 'none.mp4'}", "none.mp4: no such file"), ("/nothing", "'/nothing' is no command"),
                 ("/media ", "'/media ' is no command")]
        code, out, err = self.chat([f"/media {CLIP}", *(line for line, _ in wrong), WHICH])
        self.assertEqual((code, out), (0, "The yellow square moves down.\n"), err)
        self.assertEqual(err.count("\n"), len(wrong), err)
        for line, (_, says) in zip(err.splitlines(), wrong):
            self.assertTrue(line.startswith("reelm: error: "), line)
            self.assertIn(says, line)

    def test_a_file_that_is_no_medium_spoils_one_turn_only(self):
        code, out, err = self.chat([f"/media {DEMO / 'config.json'}", COLOR, f"/media {CLIP}", WHICH])
        self.assertEqual((code, out, err.count("\n")), (0, "The yellow square moves down.\n", 1), err)
        self.assertIn("config.json", err)

    def test_a_conversation_that_is_too_long_is_told(self):
        long = " ".join(["many"] * 200)
        code, out, err = self.chat([WHICH, long, COLOR], "--context", 150)
        self.assertEqual((code, err.count("\n")), (0, 1), err)
        self.assertIn("the session's context holds 150", err)
        self.assertEqual(out, session(DEMO, WHICH, COLOR))
        self.fails(2, "chat", "--context", 5000, says="max_position_embeddings 4096")
        self.fails(2, "chat", "--context", -1, says="--context")
        self.fails(2, "chat", "--from", 2, "--to", 1, says="--from")

    def test_help(self):
        self.assertIn("/media FILE", self.says(["/help"]))
        self.assertIn("xample", self.ok("chat", "--help"))

    def test_options_are_those_of_ask(self):
        options = ("--system", "Answer in one word.", "--dtype", "int8", "--kv-dtype", "int8", "--threads", 1,
                   "--packed-cache", "off", "--max-frames", 4, "--max-new-tokens", 5)
        self.assertEqual(self.says([f"/media {CLIP}", WHICH], *options), self.ok("ask", *options, CLIP, WHICH))
        code, out, err = self.chat([f"/media {CLIP}", WHICH], "--limit-media-count", 1, "--limit-prompt-tokens", 3)
        self.assertEqual((code, out), (0, ""))
        self.assertIn("prompt-tokens (3)", err)

    def test_trace_has_every_turn(self):
        path = self.dir / "trace.json"
        self.says([WHICH, DESCRIBE], "--trace", path)
        names = [e["name"] for e in json.loads(path.read_text())["traceEvents"]]
        self.assertEqual(names.count("total"), 2)
        self.assertEqual(names.count("chat"), 1)

    def test_what_cannot_go_on_ends_it(self):
        with open("/dev/full", "w") as full:
            (self.dir / "lines").write_text(f"{WHICH}\n{WHICH}\n")
            with open(self.dir / "lines", "rb") as stdin:
                done = subprocess.run([REELM, "chat"], stdin=stdin, stdout=full, stderr=subprocess.PIPE,
                                      timeout=PATIENCE, check=False)
        self.assertEqual((done.returncode, done.stderr.count(b"\n")), (1, 1), done.stderr)
        self.assertIn(b"standard output", done.stderr)
        folder = os.open(self.dir, os.O_RDONLY)
        self.addCleanup(os.close, folder)
        self.fails(1, "chat", stdin=folder, says="standard input")


class Terminal(ChatTest):
    def test_asks_for_a_line_and_ends_with_control_d(self):
        ours, theirs = pty.openpty()
        self.addCleanup(os.close, ours)
        process = subprocess.Popen([REELM, "chat"], stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        os.close(theirs)
        self.assertEqual(process.stdout.read(2), b"> ")
        os.write(ours, f"{WHICH}\n".encode())
        self.assertEqual(process.stdout.readline().decode(), session(DEMO, WHICH))
        self.assertEqual(process.stdout.read(2), b"> ")
        os.write(ours, b"\x04")
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, out, err), (0, b"\n", b""))

    def test_a_signal_ends_it_while_it_waits(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            process = subprocess.Popen([REELM, "chat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            process.stdin.write(f"{WHICH}\n".encode())
            process.stdin.flush()
            process.stdout.readline()  # it waits for the next line now, or soon
            process.send_signal(number)
            _, err = process.communicate(timeout=PATIENCE)
            self.assertEqual((process.returncode, err), (130, b"reelm: error: cancelled\n"))


class TextModels(ChatTest):
    def test_answers_as_the_same_decoder_with_a_tower_does(self):
        model = text_model(self.dir / "model")
        for question in (WHICH, COLOR):
            by_both = [json.loads(self.ok("ask", "--json", "--dtype", "f32", "--model", m, question))
                       for m in (model, DEMO)]
            self.assertEqual(by_both[0]["token_ids"], by_both[1]["token_ids"])
            self.assertEqual(by_both[0]["prompt_tokens"], by_both[1]["prompt_tokens"])
        self.assertEqual(self.says([WHICH, COLOR], "--model", model), session(model, WHICH, COLOR))

    def test_the_template_says_the_system_message(self):
        model = text_model(self.dir / "model", system="Answer in one word.")
        asked = ["ask", "--json", "--model"]
        found, given, other = (json.loads(self.ok(*asked, *command, WHICH)) for command in (
            (model,), (DEMO, "--system", "Answer in one word."), (DEMO,)))
        self.assertEqual(found["prompt_tokens"], given["prompt_tokens"])
        self.assertEqual(found["token_ids"], given["token_ids"])
        self.assertNotEqual(found["prompt_tokens"], other["prompt_tokens"])

    def test_takes_no_media(self):
        model = text_model(self.dir / "model")
        self.fails(2, "ask", "--model", model, CLIP, WHICH, says=("sample.mp4", "'qwen2' takes no images or videos"))
        code, out, err = self.chat([f"/media {CLIP}", WHICH], "--model", model)
        self.assertEqual((code, out, err.count("\n")), (0, self.ok("ask", "--model", model, WHICH), 1), err)
        self.assertIn("'qwen2' takes no images or videos", err)

    def test_info_and_convert(self):
        model = text_model(self.dir / "model")
        info = json.loads(self.ok("info", "--json", model))
        self.assertEqual((info["model_type"], info["supported"]), ("qwen2", True))
        self.ok("convert", "--dtype", "int8", model, self.dir / "packed")
        self.assertEqual(self.ok("ask", "--model", self.dir / "packed", WHICH),
                         self.ok("ask", "--model", model, "--dtype", "int8", WHICH))

    def test_what_it_cannot_do_is_refused(self):
        for name, config, says in (("a", {"use_sliding_window": True}, "use_sliding_window"),
                                   ("b", {"rope_scaling": {"type": "yarn", "factor": 4.0}}, "'yarn'"),
                                   ("c", {"rope_parameters": {"rope_type": "dynamic"}}, "'dynamic'")):
            self.fails(1, "ask", "--model", text_model(self.dir / name, **config), WHICH, says=says)


class FirstQwen(ChatTest):
    def test_answers_as_the_same_decoder_under_other_names_does(self):
        model = qwen_model(self.dir / "model")
        for question in (WHICH, COLOR, DESCRIBE):
            ours, theirs = (json.loads(self.ok("ask", "--json", "--dtype", "f32", "--model", m, question))
                            for m in (model, DEMO))
            self.assertEqual(ours["token_ids"], theirs["token_ids"])
            self.assertEqual(ours["answer"], theirs["answer"])
        self.assertEqual(self.says([WHICH, COLOR], "--model", model), session(model, WHICH, COLOR))
        self.assertEqual(self.says([WHICH, COLOR], "--model", model, "--dtype", "f32"),
                         self.says([WHICH, COLOR], "--dtype", "f32"))

    def test_info_and_convert(self):
        model = qwen_model(self.dir / "model")
        info = json.loads(self.ok("info", "--json", model))
        self.assertEqual((info["model_type"], info["supported"]), ("qwen", True))
        self.ok("convert", "--dtype", "int8", model, self.dir / "packed")
        self.assertEqual(self.ok("ask", "--model", self.dir / "packed", WHICH),
                         self.ok("ask", "--model", model, "--dtype", "int8", WHICH))

    def test_what_does_not_fit_is_refused(self):
        model = qwen_model(self.dir / "a")
        with open(model / "qwen.tiktoken", "a") as ranks:
            ranks.write(base64.b64encode(b"\x00\x01").decode() + " 1010\n")
        self.fails(1, "ask", "--model", model, WHICH, says="the tokenizer has ids up to 1218, but the model's vocab_size is 1218")
        model = qwen_model(self.dir / "b", num_hidden_layers=5)
        self.fails(1, "ask", "--model", model, WHICH, says=("b: no tensor", "transformer.h.4.ln_1.weight"))
        (model / "qwen.tiktoken").unlink()
        self.fails(1, "ask", "--model", model, WHICH, says="qwen.tiktoken")


if __name__ == "__main__":
    if not SESSION_ANSWERS:
        sys.exit(__doc__)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=1)
