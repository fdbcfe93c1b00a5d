"""ROUGE of reelm's summaries beside transformers', with the time both take.

Both models summarise the same small articles (articles.json, written for this) greedily, one after the other,
with the same weights, dtype and number of threads. Prints a line an article and a table: ROUGE-1, 2, L and Lsum
(F-measure, package rouge-score) of each against the written summary, of reelm against transformers (1: the same
words), and the seconds: reelm's with opening the model for each article, transformers' without.

    eval_text.py MODEL_DIR [--reelm build/release/apps/reelm] [--dtype bf16] [--articles FILE] [--limit N] [--json OUT]

needs: tools/requirements-golden.txt, pip install rouge-score
"""

import argparse
import json
import os
import pathlib
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
METRICS = ("rouge1", "rouge2", "rougeL", "rougeLsum")
INSTRUCTION = "Summarise this article in two sentences.\n\n"


def summarise_with_reelm(a, prompts):
    """(text, seconds) for each prompt. A process each: opening the model is in the seconds."""
    for prompt in prompts:
        command = [a.reelm, "ask", "--model", a.model, "--dtype", a.dtype, "--temperature", "0",
                   "--repetition-penalty", "1", "--max-new-tokens", str(a.max_new_tokens),
                   "--threads", str(a.threads), prompt]  # fmt: skip
        start = time.perf_counter()
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit(f"eval_text.py: {a.reelm} ended with {done.returncode}: {done.stderr.strip()}")
        yield done.stdout.strip(), time.perf_counter() - start


def summarise_with_transformers(a, prompts):
    """(text, seconds) for each prompt, without opening the model."""
    sys.path.insert(0, str(HERE.parent))
    import torch
    from reference_vl import Reference

    torch.set_num_threads(a.threads)
    reference = Reference(a.model, a.dtype)
    tokenizer = reference.processor.tokenizer
    for prompt in prompts:
        start = time.perf_counter()
        text = reference.prompt([], prompt, None)
        inputs = reference.processor(text=[text], return_tensors="pt")
        with torch.no_grad():
            out = reference.model.generate(
                **inputs, generation_config=reference.greedy(a.max_new_tokens)
            )
        answer = out[0, inputs["input_ids"].shape[1] :]
        summary = tokenizer.decode(answer, skip_special_tokens=True).strip()
        yield summary, time.perf_counter() - start


def scores(scorer, targets, texts) -> dict[str, float]:
    """Mean F-measure of each metric."""
    sums = dict.fromkeys(METRICS, 0.0)
    for target, text in zip(targets, texts):
        found = scorer.score("\n".join(target.split(". ")), "\n".join(text.split(". ")))
        for metric in METRICS:
            sums[metric] += found[metric].fmeasure / len(targets)
    return sums


def main():
    p = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("model", type=pathlib.Path, metavar="MODEL_DIR")
    p.add_argument("--reelm", type=pathlib.Path,
                   default=HERE.parents[1] / "build/release/apps/reelm")  # fmt: skip
    p.add_argument("--dtype", choices=("f32", "bf16"), default="bf16")
    p.add_argument("--articles", type=pathlib.Path, default=HERE / "articles.json")
    p.add_argument("--limit", type=int, help="the first N articles only")
    p.add_argument("--max-new-tokens", type=int, default=96)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    p.add_argument("--json", type=pathlib.Path, metavar="OUT")
    a = p.parse_args()
    try:
        from rouge_score import rouge_scorer
    except ImportError:
        sys.exit("eval_text.py: needs the package rouge-score (pip install rouge-score)")
    for path in (a.model / "config.json", a.reelm, a.articles):
        if not path.is_file():
            sys.exit(f"eval_text.py: {path}: no such file")
    articles = json.loads(a.articles.read_text())[: a.limit]
    prompts = [INSTRUCTION + entry["article"] for entry in articles]
    targets = [entry["summary"] for entry in articles]

    ours = list(summarise_with_reelm(a, prompts))
    theirs = list(summarise_with_transformers(a, prompts))
    for i, (entry, (our_text, our_s), (their_text, their_s)) in enumerate(
        zip(articles, ours, theirs)
    ):
        same = "same" if our_text == their_text else "differs"
        print(f"{i}: reelm {our_s:.2f} s, transformers {their_s:.2f} s, {same}: {our_text[:60]!r}")

    scorer = rouge_scorer.RougeScorer(METRICS, use_stemmer=True)
    our_texts, their_texts = [t for t, _ in ours], [t for t, _ in theirs]
    rows = {
        "reelm": (scores(scorer, targets, our_texts), sum(s for _, s in ours)),
        "transformers": (scores(scorer, targets, their_texts), sum(s for _, s in theirs)),
        "reelm against transformers": (scores(scorer, their_texts, our_texts), None),
    }
    print(f"\n{'':<28}" + "".join(f"{m:>11}" for m in METRICS) + f"{'seconds':>10}")
    for name, (found, seconds) in rows.items():
        line = "".join(f"{found[m]:>11.4f}" for m in METRICS)
        print(f"{name:<28}{line}" + (f"{seconds:>10.2f}" if seconds is not None else ""))
    if a.json:
        report = {name: dict(found, seconds=seconds) for name, (found, seconds) in rows.items()}
        a.json.write_text(json.dumps(report, indent=2) + "\n")


if __name__ == "__main__":
    main()
