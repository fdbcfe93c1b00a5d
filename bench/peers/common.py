"""What the peer scripts share: arguments, running reelm-bench in turn with a peer, the machine, the ratios."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pathlib
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

Times = dict[str, float]  # milliseconds of each stage


def fail(message: str) -> None:
    raise SystemExit(f"{pathlib.Path(sys.argv[0]).name}: {message}")


def say(message: str) -> None:
    """Progress goes to stderr, so that stdout has nothing but the result."""
    print(message, file=sys.stderr, flush=True)


def package(name: str, install: str = ""):
    """An import whose absence is one clear line."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        fail(f"needs the Python package {name} (pip install {install or name}): {error}")


def program(name: str, hint: str) -> str:
    """Path of a program given by path or by a name on the PATH."""
    return shutil.which(name) or fail(f"{name}: no such program ({hint})")


def existing(path: str) -> str:
    """A path argument that must be there."""
    if not pathlib.Path(path).exists():
        raise argparse.ArgumentTypeError(f"{path}: no such file")
    return path


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{value} is not above 0")
    return value


def arguments(doc: str, repeat: int = 3, runs: int = 3, model: bool = True) -> argparse.ArgumentParser:
    """A parser with what every script takes."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeat", type=positive, default=repeat, metavar="N",
                        help=f"turns: the peer, then reelm, N times; medians count ({repeat})")
    parser.add_argument("--runs", type=positive, default=runs, metavar="N",
                        help=f"runs of each in its turn, of which the median counts ({runs})")
    parser.add_argument("--threads", type=positive, default=2, metavar="N", help="of the peer and of reelm (2)")
    if model:
        parser.add_argument("--model", default="synthetic:qwen2-vl-2b", metavar="NAME",
                            help="of reelm-bench (synthetic:qwen2-vl-2b); synthetic:tiny is for trying the script")
    parser.add_argument("--reelm-bench", default=os.environ.get("REELM_BENCH", "reelm-bench"), metavar="PATH",
                        help="the program ($REELM_BENCH, else reelm-bench on the PATH)")
    parser.add_argument("--json", action="store_true", help="print JSON instead of the table")
    return parser


def run(command: list) -> subprocess.CompletedProcess:
    """Runs a program to its end; its failing is one line with the last one it wrote itself."""
    command = [str(word) for word in command]
    say("$ " + " ".join(command))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode != 0:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        fail(f"{pathlib.Path(command[0]).name} failed ({done.returncode}): {last}")
    return done


def reelm_bench(args: argparse.Namespace, *work: object) -> dict:
    """The report of `reelm-bench --json WORK` with the runs and threads asked for."""
    name = program(args.reelm_bench, "build reelm, then --reelm-bench PATH or $REELM_BENCH")
    report = json.loads(run([name, "--json", *work, "--repeat", args.runs, "--threads", args.threads]).stdout)
    say(f"  isa {report['machine']['isa']}, {report['work']['dtype']}, grid {report['work']['grid_thw']}, "
        f"{report['work']['prompt_tokens']} prompt tokens, load {report['machine']['load_average']:.1f}")
    return report


def stage_ms(report: dict, *stages: str) -> float:
    """Median milliseconds of these stages together."""
    found = {row["stage"]: row["median_ms"] for row in report["stages"]}
    return sum(found[stage] for stage in stages)


def median_ms(work: Callable[[], object], runs: int) -> float:
    """Median wall time of `work()` over `runs` calls."""
    times = []
    for _ in range(runs):
        begin = time.perf_counter()
        work()
        times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def cpu_flags() -> set[str]:
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split(":", 1)[1].split()) for line in lines if line.startswith("flags")), set())


def native_bf16() -> bool:
    """Whether this machine multiplies bf16 numbers (and not: widens them first)."""
    return bool(cpu_flags() & {"avx512_bf16", "amx_bf16"})


def machine(threads: int) -> dict:
    name = "unknown"
    if shutil.which("lscpu"):
        lines = subprocess.run(["lscpu"], capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}).stdout
        name = next((s.split(":", 1)[1].strip() for s in lines.splitlines() if s.startswith("Model name")), name)
    known = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "avx512_fp16", "avx_vnni", "amx_bf16", "amx_int8")
    flags = cpu_flags()
    return {"cpu": name, "flags": [flag for flag in known if flag in flags], "cores": os.cpu_count(),
            "threads": threads, "load_average": round(os.getloadavg()[0], 2)}


def in_turn(args: argparse.Namespace, peer: Callable[[], Times], reelm: Callable[[], Times]) -> list[dict]:
    """Peer and reelm in turn, so that both see the same machine: one row for every stage both have."""
    theirs, ours = [], []
    for turn in range(args.repeat):
        say(f"turn {turn + 1} of {args.repeat}, load {os.getloadavg()[0]:.1f}")
        theirs.append(peer())
        ours.append(reelm())
        for what in theirs[-1]:
            if what in ours[-1]:
                say(f"  {what}: peer {theirs[-1][what]:.1f} ms, reelm {ours[-1][what]:.1f} ms")
    return [row(what, [t[what] for t in theirs], [t[what] for t in ours]) for what in theirs[0] if what in ours[0]]


def row(what: str, theirs: list[float], ours: list[float]) -> dict:
    peer_ms, reelm_ms = statistics.median(theirs), statistics.median(ours)
    return {"what": what, "peer_ms": peer_ms, "reelm_ms": reelm_ms, "ratio": peer_ms / reelm_ms,
            "peer_all_ms": theirs, "reelm_all_ms": ours}


def finish(args: argparse.Namespace, peer: str, work: dict, rows: list[dict], notes: list[str]) -> None:
    """Prints the result. A ratio above 1 means that reelm is faster."""
    found = machine(args.threads)
    if args.json:
        print(json.dumps({"peer": peer, "machine": found, "repeat": args.repeat, "runs": args.runs, "work": work,
                          "rows": rows, "notes": notes}, indent=2))
        return
    print(f"machine: {found['cpu']}, {' '.join(found['flags'])}; {found['cores']} cores, {found['threads']} threads, "
          f"load {found['load_average']}")
    print(f"peer: {peer}; medians of {args.repeat} turns of {args.runs} runs")
    width = max([len(r["what"]) for r in rows] + [5])
    print(f"\n{'stage':<{width}} {'peer ms':>11} {'from':>10} {'to':>10} {'reelm ms':>11} {'from':>10} {'to':>10} "
          f"{'peer/reelm':>11}")
    for r in rows:
        print(f"{r['what']:<{width}} {r['peer_ms']:>11.1f} {min(r['peer_all_ms']):>10.1f} "
              f"{max(r['peer_all_ms']):>10.1f} {r['reelm_ms']:>11.1f} {min(r['reelm_all_ms']):>10.1f} "
              f"{max(r['reelm_all_ms']):>10.1f} {r['ratio']:>11.2f}")
    for note in notes:
        print(f"note: {note}")
