"""What the tests of the command line share: running the program, and judging how it ended.

Each test file is called with REELM_PROGRAM SOURCE_DIR.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

REELM = sys.argv[1] if len(sys.argv) > 2 else ""
SOURCE = pathlib.Path(sys.argv[2] if len(sys.argv) > 2 else ".")
DEMO = SOURCE / "models" / "demo"
CLIP = DEMO / "sample.mp4"
MEDIA = SOURCE / "tests" / "goldens" / "media"
KINDS = SOURCE / "tests" / "media"
PATIENCE = 240  # seconds before a hang is called one; generous, as sanitizers are slow
GOLDEN = SOURCE / "tests" / "goldens" / "demo_direction.safetensors"


def run(*args, stdin=subprocess.DEVNULL, env=None, **more):
    """Runs reelm; returns (exit code, stdout, stderr) as text."""
    environment = {**os.environ, **(env or {})}
    environment.pop("REELM_MODEL", None) if not env or "REELM_MODEL" not in env else None
    done = subprocess.run([REELM, *map(str, args)], stdin=stdin, capture_output=True,
                          timeout=PATIENCE, env=environment, check=False, **more)
    return (done.returncode, done.stdout.decode("utf-8", "replace"),
            done.stderr.decode("utf-8", "replace"))


class CliTest(unittest.TestCase):
    def setUp(self):
        self.scratch = tempfile.TemporaryDirectory()
        self.dir = pathlib.Path(self.scratch.name)

    def tearDown(self):
        self.scratch.cleanup()

    def ok(self, *args, **more):
        code, out, err = run(*args, **more)
        self.assertEqual(code, 0, f"{args}: {err}")
        return out

    def fails(self, code, *args, says=(), **more):
        """Fails with `code` and one line on standard error that holds all of `says`."""
        found, out, err = run(*args, **more)
        self.assertEqual(found, code, f"{args}: stdout {out!r} stderr {err!r}")
        self.assertEqual(out, "", f"{args}: a failure prints no answer")
        self.assertTrue(err.startswith("reelm: error: "), err)
        self.assertEqual(err.count("\n"), 1, f"{args}: one line, found {err!r}")
        for word in [says] if isinstance(says, str) else says:
            self.assertIn(word, err)
        return err


def main(usage):
    """Runs the tests of the file that is called."""
    if len(sys.argv) < 3:
        sys.exit(usage)
    unittest.main(argv=[sys.argv[0], *sys.argv[3:]], verbosity=1)
