#!/usr/bin/env python3
"""Peak memory of `reelm ask` over the length of the video, at a fixed token budget; run by hand.

    tools/memory_over_length.py SCRATCH_DIR [--program build/release/apps/reelm] [--png docs/img/memory.png]

Makes clips of 10 s, 1, 10 and 60 min (640x360, 24 fps, H.264, a key frame every 2 s) in SCRATCH_DIR with the
ffmpeg program (10 s are encoded, the others repeat their packets), asks about each with --frames, and with
--fps 2 --max-frames, and prints one CSV line a run: the highest peak and the median time of --repeat runs.
The first line, of 0 seconds, is a question without a video. Draws a plot when --png is given, which takes
matplotlib. Needs nothing else but Python 3.8.
"""
import argparse
import csv
import json
import pathlib
import statistics
import subprocess
import sys

LENGTHS = (10, 60, 600, 3600)  # seconds
FRAME_RATE = 24
QUESTION = "What happens in the video?"


def ffmpeg(*arguments):
    subprocess.run(["ffmpeg", "-v", "error", "-y", *map(str, arguments)], check=True)


def make_clip(folder, seconds):
    """The clip, made unless it is there."""
    clip = folder / f"memory_{seconds}.mp4"
    if clip.exists():
        return clip
    partial = clip.with_suffix(".partial.mp4")
    if seconds == LENGTHS[0]:
        ffmpeg("-f", "lavfi", "-i", f"testsrc2=s=640x360:r={FRAME_RATE}", "-t", seconds, "-c:v", "libx264",
               "-preset", "veryfast", "-g", 2 * FRAME_RATE, "-pix_fmt", "yuv420p", partial)
    else:
        shortest = make_clip(folder, LENGTHS[0])
        ffmpeg("-stream_loop", seconds // LENGTHS[0] - 1, "-i", shortest, "-c", "copy", partial)
    partial.rename(clip)
    return clip


def ask(a, media, options):
    """One answer as reelm prints it."""
    command = [a.program, "ask", "--quiet", "--json", "--max-new-tokens", "8", *options, *a.options.split()]
    done = subprocess.run([*map(str, command), *map(str, media), QUESTION], stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def measure(a, seconds, media, budget, options):
    answers = [ask(a, media, options) for _ in range(a.repeat)]
    one = answers[0]
    row = {
        "seconds": seconds,
        "budget": budget,
        "frames_in_file": sum(m["total_frames"] for m in one["media"]),
        "frames_taken": sum(len(m["frame_indices"]) for m in one["media"]),
        "prompt_tokens": one["prompt_tokens"],
        "peak_bytes": max(answer["peak_memory_bytes"] for answer in answers),
        "total_ms": round(statistics.median(answer["stages_ms"]["total"] for answer in answers), 1),
    }
    return row


def draw(rows, png):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(6.4, 3.6), dpi=100)
    for budget in dict.fromkeys(row["budget"] for row in rows if row["seconds"] > 0):
        line = [row for row in rows if row["budget"] == budget]
        axes.plot([row["seconds"] for row in line], [row["peak_bytes"] / 1e6 for row in line], marker="o",
                  label=budget)
    text = next(row for row in rows if row["seconds"] == 0)
    axes.axhline(text["peak_bytes"] / 1e6, linestyle=":", color="grey", label="no video")
    axes.set_xscale("log")
    axes.set_xticks(LENGTHS, ["10 s", "1 min", "10 min", "60 min"])
    axes.minorticks_off()
    axes.set_ylim(bottom=0)
    axes.set_xlabel("length of the video")
    axes.set_ylabel("peak memory, MB")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(png)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scratch", type=pathlib.Path)
    parser.add_argument("--program", default="build/release/apps/reelm")
    parser.add_argument("--options", default="", help="more of `reelm ask`, in one word: '--model DIR'")
    parser.add_argument("--frames", type=int, default=32)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--csv", type=pathlib.Path, help="write the lines here as well")
    parser.add_argument("--png", type=pathlib.Path)
    a = parser.parse_args()
    a.scratch.mkdir(parents=True, exist_ok=True)
    budgets = {
        f"--frames {a.frames}": ["--frames", a.frames],
        f"--fps 2 --max-frames {2 * a.frames}": ["--fps", 2, "--max-frames", 2 * a.frames],
    }
    rows = [measure(a, 0, [], "no video", [])]
    for seconds in LENGTHS:
        clip = make_clip(a.scratch, seconds)
        rows += [measure(a, seconds, [clip], name, options) for name, options in budgets.items()]
    outputs = [sys.stdout] + ([a.csv.open("w", newline="")] if a.csv else [])
    for output in outputs:
        writer = csv.DictWriter(output, rows[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    if a.png:
        draw(rows, a.png)


if __name__ == "__main__":
    main()
