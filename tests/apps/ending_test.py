"""Signals, time limits, and files that cannot be written.

usage: ending_test.py REELM_PROGRAM SOURCE_DIR
"""
import json
import os
import pathlib
import resource
import shutil
import signal
import subprocess
import time

from cli import CLIP, DEMO, GOLDEN, PATIENCE, REELM, CliTest, run, main


class Ending(CliTest):
    """Ctrl-C, SIGTERM, --timeout, a reader that goes away: in time, and nothing is left."""

    def start(self, *args, **more):
        return subprocess.Popen([REELM, *map(str, args)], stdin=subprocess.DEVNULL,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **more)

    def ends(self, process, *signals):
        """Signals it and waits; (exit code, stdout, stderr)."""
        for number in signals:
            process.send_signal(number)
            time.sleep(0.02)
        out, err = process.communicate(timeout=PATIENCE)
        return process.returncode, out, err

    def silent_fifo(self):
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        self.addCleanup(os.close, os.open(fifo, os.O_RDWR))  # a writer that never writes
        return fifo

    def blocked(self, fifo, *args, **more):
        """reelm ask, once it waits for the FIFO."""
        process = self.start("ask", *args, fifo, "?", **more)
        fds = pathlib.Path(f"/proc/{process.pid}/fd")
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            try:
                if any(os.readlink(fd) == str(fifo) for fd in fds.iterdir()):
                    return process
            except OSError:
                pass  # a descriptor was closed in between
            time.sleep(0.01)
        process.kill()
        return self.fail("the FIFO was never opened")

    def test_a_signal_ends_a_blocked_read(self):
        fifo = self.silent_fifo()
        for number in (signal.SIGINT, signal.SIGTERM):
            code, out, err = self.ends(self.blocked(fifo), number)
            self.assertEqual((code, out), (130, b""), err)
            self.assertEqual(err, b"reelm: error: cancelled\n")
        trace = self.dir / "trace.json"
        code, _, err = self.ends(self.blocked(fifo, "--trace", trace), signal.SIGINT)
        self.assertEqual((code, err), (130, b"reelm: error: cancelled\n"))
        self.assertIn("ask", {e["name"] for e in json.loads(trace.read_text())["traceEvents"]})
        with open(os.open(fifo, os.O_RDONLY | os.O_NONBLOCK), "rb") as stdin:
            process = subprocess.Popen([REELM, "ask", "-", "?"], stdin=stdin,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            time.sleep(1)  # wherever it is
            self.assertEqual(self.ends(process, signal.SIGINT)[0], 130)

    def test_signals_at_any_moment(self):
        out = self.dir / "out"
        sheet = self.dir / "sheet.png"
        trace = self.dir / "trace.json"
        cache = self.dir / "cache"
        commands = (("convert", DEMO, out), ("frames", CLIP, "-o", sheet),
                    ("ask", "--packed-cache", cache, "--trace", trace, CLIP, "Describe the video."))
        for command in commands:
            begin = time.monotonic()
            self.ok(*command)
            whole = time.monotonic() - begin
            for i in range(10):
                for path in (out, cache):
                    shutil.rmtree(path, ignore_errors=True)
                sheet.unlink(missing_ok=True)
                process = self.start(*command)
                time.sleep(whole * (i + 0.5) / 10)
                numbers = [signal.SIGINT] * (1 + i % 2)
                code, _, err = self.ends(process, *numbers)
                # Before main() the signal kills; behind the work it comes too late.
                self.assertIn(code, (130, 0, -signal.SIGINT), err)
                left = [p for p in self.dir.rglob("*") if ".part-" in p.name]
                self.assertEqual(left, [])
                if trace.exists():  # the whole of what was recorded
                    json.loads(trace.read_text())
                if code != 0 and out.exists():  # all of it or nothing
                    self.ok("ask", "--model", out, CLIP, "?")

    def test_a_signal_ends_writing_to_a_reader_that_does_not_read(self):
        process = self.start("info", "--json", "--tensors", DEMO)
        time.sleep(1.5)  # more than a pipe holds: it is blocked by now
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            self.assertEqual(process.wait(PATIENCE), 130)
        process.communicate()

    def test_timeout(self):
        fifo = self.silent_fifo()
        self.fails(1, "ask", "--timeout", 0.5, fifo, "?", says="deadline has passed")
        for command in (("ask", CLIP, "?"), ("frames", CLIP, "-o", self.dir / "x.png"),
                        ("verify", GOLDEN), ("convert", DEMO, self.dir / "out"),
                        ("perplexity", DEMO / "config.json")):
            self.fails(1, *command, "--timeout", "1e-6", says="deadline has passed")
        fifo.unlink()
        self.assertEqual(list(self.dir.iterdir()), [])
        self.fails(2, "ask", "--timeout", "-1", CLIP, "?", says="--timeout")
        self.ok("ask", "--timeout", 1000, CLIP, "?")

    def test_a_reader_that_goes_away(self):
        for command in (("ask", CLIP, "Describe the video."), ("info", "--json", DEMO)):
            process = self.start(*command)
            process.stdout.close()
            err = process.stderr.read()
            process.stderr.close()
            self.assertEqual((process.wait(PATIENCE), err), (-signal.SIGPIPE, b""), command)

    def test_a_model_cut_short_while_it_is_in_use(self):
        model = self.dir / "model"
        self.ok("convert", "--dtype", "bf16", DEMO, model)
        fifo = self.dir / "fifo"
        os.mkfifo(fifo)
        writer = os.open(fifo, os.O_RDWR)
        process = self.blocked(fifo, "--model", model)
        os.truncate(model / "model.safetensors", 4096)
        os.write(writer, CLIP.read_bytes())
        os.close(writer)
        out, err = process.communicate(timeout=PATIENCE)
        self.assertEqual((process.returncode, out), (1, b""), err)
        self.assertIn(b"model.safetensors: became shorter", err)
        self.assertEqual(err.count(b"\n"), 1)


class FilesThatCannotBeWritten(CliTest):
    """Disk full and permission for every file that is written. Nothing is left of it."""

    @staticmethod
    def full_disk():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        # No less: clang's OpenMP ends the process when it cannot write its own 1024 bytes.
        resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))

    # The memory that a confined decoder shares counts as a file.
    OPEN = ("--sandbox", "off")

    def test_a_full_disk(self):
        out = self.dir / "out"
        out.mkdir()
        self.fails(1, "frames", *self.OPEN, CLIP, "-o", out / "sheet.png", says="sheet.png",
                   preexec_fn=self.full_disk)
        self.assertEqual(list(out.iterdir()), [])
        self.fails(1, "convert", DEMO, out / "model", says=str(out / "model"),
                   preexec_fn=self.full_disk)
        self.assertEqual(list(out.iterdir()), [])
        code, answer, err = run("ask", *self.OPEN, "--packed-cache", out, CLIP,
                                "What color is the square?", preexec_fn=self.full_disk)
        self.assertEqual((code, err.count("\n")), (0, 1), err)
        self.assertIn("reelm-packed-", err)
        self.assertNotEqual(answer, "")
        self.assertEqual(list(out.iterdir()), [])
        with subprocess.Popen(["cat", str(CLIP)], stdout=subprocess.PIPE) as cat:
            self.fails(1, "ask", *self.OPEN, "-", "?", says="temporary copy", stdin=cat.stdout,
                       preexec_fn=self.full_disk)

    def test_a_file_size_limit(self):
        """ulimit -f: as a full disk, also with the signal that a shell leaves on; frames that fit are decoded."""
        def limited(size):
            return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        self.assertNotEqual(self.ok("ask", CLIP, "What color is the square?", preexec_fn=limited(1 << 20)), "")
        self.fails(1, "ask", CLIP, "?", says=("sample.mp4", "ulimit -f"), preexec_fn=limited(8192))
        sheet = self.dir / "sheet.png"
        self.fails(1, "frames", *self.OPEN, CLIP, "-o", sheet, says="sheet.png", preexec_fn=limited(1024))
        self.assertEqual(list(self.dir.iterdir()), [])

    def test_an_old_file_stays_when_the_new_one_fails(self):
        sheet = self.dir / "sheet.png"
        self.ok("frames", CLIP, "-o", sheet)
        before = sheet.read_bytes()
        self.fails(1, "frames", *self.OPEN, "--frames", 2, CLIP, "-o", sheet, says="sheet.png",
                   preexec_fn=self.full_disk)
        self.assertEqual(sheet.read_bytes(), before)

    def test_no_permission(self):
        self.fails(1, "frames", CLIP, "-o", "/proc/sheet.png", says="/proc/sheet.png")
        self.fails(1, "convert", DEMO, "/proc/model", says="/proc/model")
        self.fails(1, "ask", "-", "?", env={"TMPDIR": "/proc"}, says="temporary",
                   stdin=subprocess.PIPE)


if __name__ == "__main__":
    main(__doc__)
