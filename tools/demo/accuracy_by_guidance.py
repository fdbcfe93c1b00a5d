"""What guidance does to the demo model's answers: how many are right, by scale.

Runs the reelm program over clips that make_clips.py wrote. An answer counts when it equals the
expected sentence exactly.

usage: accuracy_by_guidance.py REELM MODEL CLIPS [--scales 1,1.5,2,3] [--negative TEXT]
"""

import argparse
import collections
import json
import pathlib
import subprocess
import sys


def ask(a, scale: str, row: dict) -> str:
    """The program's greedy answer to one question about one clip."""
    command = [a.reelm, "ask", "--model", a.model, "--quiet", "--temperature", "0",
               "--max-new-tokens", "48", "--guidance", scale]  # fmt: skip
    if a.negative is not None:
        command += ["--negative", a.negative]
    command += [str(a.clips / row["clip"]), row["question"]]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"accuracy_by_guidance.py: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("reelm", help="the program")
    p.add_argument("model", help="model directory")
    p.add_argument("clips", type=pathlib.Path, help="directory that make_clips.py wrote")
    p.add_argument("--scales", default="1,1.5,2,3")
    p.add_argument("--negative", help="as of reelm ask")
    a = p.parse_args()
    questions = a.clips / "questions.json"
    if not questions.is_file():
        sys.exit(f"accuracy_by_guidance.py: {questions}: no such file; run make_clips.py first")
    rows = json.loads(questions.read_text())
    objects = [r["scene"].count(".") for r in rows]
    seen = collections.Counter(objects)
    first: list[str] = []
    print("| scale | right |", " | ".join(f"{n} in the clip" for n in sorted(seen)), "| gained | lost |")
    print("|---|---|" + "---|" * len(seen) + "---|---|")
    for scale in a.scales.split(","):
        answers = [ask(a, scale, row) for row in rows]
        first = first or answers
        right = [answer == row["answer"] for answer, row in zip(answers, rows)]
        before = [answer == row["answer"] for answer, row in zip(first, rows)]
        by_objects = [
            f"{sum(ok for ok, n in zip(right, objects) if n == count)} of {seen[count]}"
            for count in sorted(seen)
        ]
        gained = sum(now and not then for now, then in zip(right, before))
        lost = sum(then and not now for now, then in zip(right, before))
        print(f"| {scale} | {sum(right)} of {len(rows)} |", " | ".join(by_objects),
              f"| {gained} | {lost} |", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
