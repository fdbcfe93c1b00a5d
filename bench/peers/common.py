"""What the peer scripts share: running reelm-bench, timing, printing ratios."""

from __future__ import annotations

import json
import os
import pathlib
import statistics
import subprocess
import time

PROGRAM = os.environ.get("REELM_BENCH", "reelm-bench")


def reelm_bench(*args: object) -> dict:
    """The report of `reelm-bench --json ARGS`; $REELM_BENCH names the program."""
    command = [PROGRAM, "--json", *map(str, args)]
    print("$ " + " ".join(command), flush=True)
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def stage_ms(report: dict, *stages: str) -> float:
    """Median milliseconds of these stages together."""
    found = {row["stage"]: row["median_ms"] for row in report["stages"]}
    return sum(found[stage] for stage in stages)


def median_ms(work, repeat: int, warm_up: int = 1) -> float:
    """Median wall time of `work()` over `repeat` calls, after `warm_up` that do not count."""
    times = []
    for i in range(warm_up + repeat):
        begin = time.perf_counter()
        work()
        if i >= warm_up:
            times.append((time.perf_counter() - begin) * 1e3)
    return statistics.median(times)


def load_average() -> str:
    return f"{os.getloadavg()[0]:.2f}" if hasattr(os, "getloadavg") else "?"


def print_ratios(peer: str, rows: list[tuple[str, float, float]]) -> None:
    """rows: (what, the peer's ms, reelm's ms). Above 1: reelm is faster."""
    print(f"\nload average {load_average()}\n{'stage':<28}{peer + ' ms':>16}{'reelm ms':>12}{'ratio':>8}")
    for what, theirs, ours in rows:
        print(f"{what:<28}{theirs:>16.1f}{ours:>12.1f}{theirs / ours:>8.2f}")


def existing(path: str) -> str:
    """A path argument that must be there."""
    if not pathlib.Path(path).exists():
        raise SystemExit(f"{path}: no such file")
    return path
