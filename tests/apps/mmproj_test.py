"""--mmproj: the vision tower of a GGUF model.

usage: mmproj_test.py REELM_PROGRAM SOURCE_DIR MAKE_GGUF_MODEL
"""
import json
import subprocess
import sys

from cli import MEDIA, CliTest, main

MAKE = sys.argv.pop(3) if len(sys.argv) > 3 else ""
PICTURE = MEDIA / "square.png"


class Mmproj(CliTest):
    def setUp(self):
        super().setUp()
        self.model, self.tower = self.made("flat_bf16")

    def made(self, name):
        """DIR/NAME/model.gguf and DIR/NAME/mmproj.gguf, Q8_0; the second where it has a tower."""
        folder = self.dir / name
        subprocess.run([MAKE, name, folder], check=True)
        return folder / "model.gguf", folder / "mmproj.gguf"

    def answer(self, *args):
        return json.loads(self.ok("ask", "--json", "--max-new-tokens", "4", "--max-pixels", "12544",
                                  "--model", self.model, *args, PICTURE, "What?"))

    def refused(self, code, *args, model=None, says):
        self.fails(code, "ask", "--model", model or self.model, *args, PICTURE, "What?", says=says)

    def test_beside_or_named(self):
        expected = self.answer()
        self.assertEqual(len(expected["token_ids"]), 4)
        self.assertEqual(expected["model"]["dtype"], "q8_0")
        self.assertEqual(self.answer("--mmproj", self.tower)["token_ids"], expected["token_ids"])
        elsewhere = self.tower.rename(self.dir / "tower.bin")
        self.refused(1, says=("model.gguf", "vision tower", "--mmproj FILE"))
        self.assertEqual(self.answer("--mmproj", elsewhere)["token_ids"], expected["token_ids"])
        # The other commands that open a model take it too.
        self.assertIn("in 2 file(s)", self.ok("info", "--mmproj", elsewhere, self.model))
        self.ok("convert", "--dtype", "auto", "--mmproj", elsewhere, self.model, self.dir / "out")
        self.model = self.dir / "out"
        converted = self.answer()  # not the same tokens: its embeddings are BF16 now
        self.assertEqual(len(converted["token_ids"]), 4)
        self.assertEqual(converted["model"]["dtype"], "q8_0")
        self.assertEqual(converted["model"]["weights"], "converted")

    def test_one_that_is_named_is_taken_although_another_lies_beside(self):
        expected = self.answer()["token_ids"]
        good = self.tower.rename(self.dir / "good.bin")
        self.tower.write_bytes(b"GGUF and no more")
        self.refused(1, says="mmproj.gguf")
        self.assertEqual(self.answer("--mmproj", good)["token_ids"], expected)

    def test_several_beside(self):
        (self.tower.parent / "b-mmproj.gguf").write_bytes(self.tower.read_bytes())
        self.refused(2, says=("b-mmproj.gguf, mmproj.gguf", "choose with --mmproj FILE"))

    def test_what_is_no_tower(self):
        self.refused(1, "--mmproj", self.dir / "none.gguf", says=("none.gguf", "No such file"))
        self.refused(1, "--mmproj", self.dir, says=(str(self.dir), "is a directory"))
        text = self.dir / "text.gguf"
        text.write_text("Not a tower, but long enough to have a header.\n" * 9, "utf-8")
        self.refused(1, "--mmproj", text, says=("text.gguf", "GGUF"))
        self.refused(1, "--mmproj", self.model,
                     says=("model.gguf", "'general.architecture' is 'qwen2vl', expected 'clip'"))

    def test_a_tower_of_another_model(self):
        _, other = self.made("odd_f32")
        self.refused(1, "--mmproj", other, 
                     says="vision_config.hidden_size is 40, expected the decoder's hidden_size 64")

    def test_a_model_without_one(self):
        text, _ = self.made("qwen2_head64_bf16")
        self.refused(2, "--mmproj", self.tower, model=text, says="'qwen2' takes text only")
        self.refused(2, "--mmproj", self.tower, model=self.model.parent / "hf",
                     says=("is no GGUF file", "--mmproj"))


if __name__ == "__main__":
    main(__doc__)
