"""What quantised weights cost the demo model: answers right and perplexity, by dtype.

Runs the reelm program over clips that make_clips.py wrote. An answer counts when it equals the
expected sentence exactly. The text whose perplexity is taken is the questions and answers of those
clips, one line each.

usage: accuracy_by_dtype.py REELM MODEL CLIPS [--dtypes f32/f32,bf16/bf16,int8/bf16,...]
(decoder/vision tower)
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile

DTYPES = "f32/f32,bf16/bf16,int8/bf16,int8/int8,int4/bf16,int4/int8"


def run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"accuracy_by_dtype.py: {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("reelm", help="the program")
    p.add_argument("model", type=pathlib.Path)
    p.add_argument("clips", type=pathlib.Path, help="directory that make_clips.py wrote")
    p.add_argument("--dtypes", default=DTYPES, help=f"decoder/vision tower ({DTYPES})")
    a = p.parse_args()
    questions = a.clips / "questions.json"
    if not questions.is_file():
        sys.exit(f"accuracy_by_dtype.py: {questions}: no such file; run make_clips.py first")
    rows = json.loads(questions.read_text())
    text = "".join(f"{r['question']}\n{r['answer']}\n" for r in rows)
    first: list[str] = []
    print("| decoder / vision tower | right | same as the first row | perplexity |")
    print("|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        file = pathlib.Path(scratch) / "text.txt"
        file.write_text(text)
        for pair in a.dtypes.split(","):
            decoder, vision = pair.split("/")
            types = ["--model", str(a.model), "--dtype", decoder, "--vision-dtype", vision]
            answers = [
                run(a.reelm, "ask", *types, "--quiet", "--temperature", "0", "--max-new-tokens",
                    "48", str(a.clips / r["clip"]), r["question"]).strip()
                for r in rows
            ]  # fmt: skip
            first = first or answers
            right = sum(answer == r["answer"] for answer, r in zip(answers, rows))
            same = sum(x == y for x, y in zip(answers, first))
            scored = run(a.reelm, "perplexity", *types, "--quiet", str(file))
            perplexity = scored.split("perplexity ")[1].split(",")[0]
            print(f"| {decoder} / {vision} | {right} of {len(rows)} | {same} | {perplexity} |", flush=True)


if __name__ == "__main__":
    main()
