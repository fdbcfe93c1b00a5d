"""Plants one wrong include at a time in a small tree and sees tools/check_layers.py find it."""

import pathlib
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))
import check_layers  # noqa: E402

CLEAN = {
    "core/error.h": "// Errors.\n#include <string>\n",
    "core/plain.h": "// Plain data.\n#include <cstdint>\n",
    "core/json.h": "// JSON. Not installed.\n#include <nlohmann/json.hpp>\n#include \"error.h\"\n",
    "kernels/matmul.h": "// Products.\n#include \"../core/error.h\"\n",
    "kernels/matmul.cc": "#include \"kernels/matmul.h\"\n#include <oneapi/dnnl/dnnl.hpp>\n",
    "kernels/avx2/dot.cc": "#include <immintrin.h>\n#include \"core/plain.h\"\n",
    "kernels/reference/dot.cc": "#include <Eigen/Core>\n#include <vector>\n",
    "preprocess/reader.cc": "extern \"C\" {\n#include <libavformat/avformat.h>\n}\n",
    "vision/encoder.h": "// Encoder.\n#include \"../core/error.h\"\n#include \"../kernels/matmul.h\"\n",
    "llm/decoder.cc": "#include \"core/json.h\"\n",
    "pipeline/engine.h": "// Engine.\n#include \"../vision/encoder.h\"\n",
    "apps/main.cc": "#include \"pipeline/engine.h\"\n",
    "apps/draw.cc": "#include <opencv2/imgproc.hpp>\n",
    "tests/core/json_test.cc": "#include \"core/json.h\"\n#include \"apps/main.cc\"\n",
}


class CheckLayers(unittest.TestCase):
    def violations(self, changes):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in {**CLEAN, **changes}.items():
                path = pathlib.Path(folder) / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return check_layers.violations(pathlib.Path(folder))

    def assert_one(self, name, text, message):
        found = self.violations({name: text})
        self.assertEqual(len(found), 1, found)
        self.assertTrue(found[0].startswith(name + ": "), found)
        self.assertIn(message, found[0])

    def test_clean_tree(self):
        self.assertEqual(self.violations({}), [])

    def test_this_repository(self):
        self.assertEqual(check_layers.violations(ROOT), [])

    def test_back_edges(self):
        for name, target in [
            ("core/a.cc", "kernels/matmul.h"),
            ("kernels/a.cc", "vision/encoder.h"),
            ("preprocess/a.cc", "kernels/matmul.h"),
            ("vision/a.cc", "llm/decoder.cc"),
            ("llm/a.cc", "vision/encoder.h"),
            ("pipeline/a.cc", "apps/main.cc"),
        ]:
            with self.subTest(name=name, target=target):
                self.assert_one(name, f"#include \"{target}\"\n", "back edge")

    def test_a_relative_spelling_does_not_hide_a_back_edge(self):
        self.assert_one("core/a.cc", "#  include \"../kernels/matmul.h\"\n", "back edge")

    def test_libraries_from_outside_stay_in_their_folders(self):
        for header in ("libavutil/frame.h", "opencv2/core.hpp", "oneapi/dnnl/dnnl.hpp"):
            with self.subTest(header=header):
                self.assert_one("pipeline/a.cc", f"#include <{header}>\n", "may not be included here")
        private = {"preprocess/a.h": "// Not installed.\n#include <libavutil/frame.h>\n"}
        self.assertEqual(self.violations(private), [])
        found = self.violations({**private, "pipeline/a.cc": "#include \"preprocess/a.h\"\n"})
        self.assertEqual(len(found), 1, found)
        self.assertIn("<libavutil/frame.h> through preprocess/a.h", found[0])

    def test_installed_headers(self):
        self.assert_one("core/a.h", "#include <fmt/format.h>\n", "Not installed")
        self.assert_one("core/a.h", "#include \"json.h\"\n", "core/json.h, which is not installed")
        self.assert_one("llm/a.h", "#include \"core/error.h\"\n", "must be relative")

    def test_instruction_set_files(self):
        self.assert_one("kernels/avx2/a.cc", "#include <algorithm>\n", "<algorithm>")
        self.assert_one("kernels/avx2/a.cc", "#include \"core/error.h\"\n", "<string> through core/error.h")


if __name__ == "__main__":
    unittest.main()
