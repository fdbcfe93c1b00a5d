#!/usr/bin/env python3
"""What a trace of reelm says: the top operations, idle time by lane, the critical path.

    reelm ask --trace trace.json clip.mp4 "What happens?"
    tools/trace_summary.py trace.json [--top 15] [--png trace.png]

Every moment of a lane counts once: for the operation it was at (a span of kind "operation", a kernel outside of
one, a stage with nothing else inside), for the rest of a stage or layer ("prefill (rest)"), for a wait, or for
nothing. Rates are of what the spans say they compute and move.

The critical path goes back from the end of the trace: along the lane that was at work, and from a wait to the
lane that was waited for. Making anything else faster changes nothing.

Plain Python 3.8; --png takes matplotlib.
"""
import argparse
import collections
import json
import pathlib
import sys

MAIN = "main"
COARSE = ("stage", "layer")


class Failure(Exception):
    """What is wrong, in one line."""


class Span:
    """A complete event; times in whole nanoseconds."""

    def __init__(self, event):
        self.name = event["name"]
        self.kind = event.get("cat", "stage")
        self.args = event.get("args", {})
        self.begin = round(event["ts"] * 1000)
        self.end = self.begin + round(event["dur"] * 1000)
        self.parent = None
        self.children = []

    def operation(self):
        """(name of the operation this span is part of, the span that is it)."""
        top = self
        while top.parent is not None and (top.kind == "share" or top.parent.kind not in COARSE):
            top = top.parent
        if top.kind in COARSE and any(child.kind not in ("wait", "share") for child in top.children):
            return f"{top.name} (rest)", top
        return top.name, top


class Lane:
    """The spans of one thread, nested, and what it was at in every moment."""

    def __init__(self, name, events, begin, end):
        self.name = name
        self.spans = sorted((Span(e) for e in events), key=lambda s: (s.begin, -s.end))
        self._nest()
        self.segments = []  # (begin, end, innermost span or None), without gaps
        self._flatten(begin, end)

    def _nest(self):
        stack = []
        for span in self.spans:
            while stack and stack[-1].end <= span.begin and stack[-1].end < span.end:
                stack.pop()
            if stack:
                if span.end > stack[-1].end:
                    raise Failure(f"lane '{self.name}': '{span.name}' ends after '{stack[-1].name}' around it")
                span.parent = stack[-1]
                stack[-1].children.append(span)
            stack.append(span)

    def _flatten(self, begin, end):
        def add(until, span):
            nonlocal begin
            if until > begin:
                self.segments.append((begin, until, span))
                begin = until

        def walk(span):
            add(span.begin, span.parent)
            for child in span.children:
                walk(child)
            add(span.end, span)

        for span in self.spans:
            if span.parent is None:
                walk(span)
        add(end, None)

    def at(self, t):
        """The segment that holds the moment before t."""
        low, high = 0, len(self.segments) - 1
        while low < high:
            middle = (low + high) // 2
            if self.segments[middle][1] < t:
                low = middle + 1
            else:
                high = middle
        return self.segments[low]


class Trace:
    def __init__(self, path):
        events, self.notes = self._read(path)
        complete = [e for e in events if e.get("ph") == "X"]
        if not complete:
            raise Failure("no spans in it")
        self.begin = min(round(e["ts"] * 1000) for e in complete)
        self.end = max(round(e["ts"] * 1000) + round(e["dur"] * 1000) for e in complete)
        names = {e["tid"]: e["args"]["name"] for e in events
                 if e.get("ph") == "M" and e["name"] == "thread_name"}
        by_lane = collections.defaultdict(list)
        for event in complete:
            by_lane[event["tid"]].append(event)
        self.lanes = [Lane(names.get(tid, f"thread {tid}"), by_lane[tid], self.begin, self.end)
                      for tid in sorted(by_lane)]
        self.counters = [e for e in events if e.get("ph") == "C"]

    @staticmethod
    def _read(path):
        try:
            data = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise Failure(error.strerror) from error
        except ValueError as error:
            raise Failure(f"not JSON: {error}") from error
        events = data.get("traceEvents") if isinstance(data, dict) else data
        if not isinstance(events, list) or not all(isinstance(e, dict) for e in events):
            raise Failure("no list of trace events in it")
        return events, data.get("otherData", {}) if isinstance(data, dict) else {}

    @property
    def wall(self):
        return self.end - self.begin

    def lane(self, name):
        """The lane of that name, or the first numbered one."""
        for lane in self.lanes:
            if lane.name == name:
                return lane
        return next((lane for lane in self.lanes if lane.name.startswith(name + " ")), None)


class Total:
    def __init__(self):
        self.ns, self.flop, self.bytes = 0, 0, 0
        self.spans = set()
        self.kernels = collections.Counter()


def operations(trace):
    """Name -> Total, of everything that is no wait."""
    totals = collections.defaultdict(Total)
    for lane in trace.lanes:
        if all(span.kind == "share" for span in lane.spans):
            continue  # workers: the lane that runs the loop has its time
        for begin, end, span in lane.segments:
            if span is None or span.kind == "wait":
                continue
            name, top = span.operation()
            total = totals[name]
            total.ns += end - begin
            if top not in total.spans:
                total.spans.add(top)
                if not name.endswith(" (rest)"):  # else its parts have them
                    total.flop += top.args.get("flop", 0)
                    total.bytes += top.args.get("bytes", 0)
            while span is not None and span.kind not in COARSE:
                if span.kind == "kernel":
                    words = (span.args.get(key) for key in ("kernel", "dtype", "isa"))
                    total.kernels[" ".join(word for word in words if word)] += end - begin
                span = span.parent
    return totals


def idle_times(lane):
    """Nanoseconds: at work, in a loop beside its own share of it, waiting, outside of all spans."""
    work = join = wait = outside = 0
    for begin, end, span in lane.segments:
        if span is None:
            outside += end - begin
        elif span.kind == "wait":
            wait += end - begin
        elif any(child.kind == "share" for child in span.children):
            join += end - begin
        else:
            work += end - begin
    return work, join, wait, outside


def critical_path(trace):
    """(lane, operation) -> ns, which sum up to the wall time."""
    main = trace.lane(MAIN) or trace.lanes[0]
    path = collections.Counter()
    lane, t, tried = main, trace.end, []
    while t > trace.begin:
        begin, _, span = lane.at(t)
        after = None
        if span is None:
            after = main
        elif span.kind == "wait":
            after = trace.lane(span.args.get("waits_for", ""))
        if after is not None and after is not lane and after not in tried:
            tried.append(lane)
            lane = after
            continue
        if after is not None and tried:  # all wait for each other: the wait that began last
            lane = max([*tried, lane], key=lambda other: other.at(t)[0])
            begin, _, span = lane.at(t)
        path[lane.name, "(nothing recorded)" if span is None else
             span.name if span.kind == "wait" else span.operation()[0]] += t - begin
        t, tried = begin, []
    return path


def ms(ns):
    return f"{ns / 1e6:.3f}"


def percent(part, whole):
    return f"{100 * part / whole:.1f}" if whole else "-"


def rate(amount, ns):
    return f"{amount / ns:.2f}" if amount and ns else "-"


def table(title, head, rows):
    """Numbers to the right, but for the first column and the last."""
    cells = [head, *rows]
    width = [max(len(row[i]) for row in cells) for i in range(len(head))]
    lines = [title]
    for row in cells:
        line = [cell.ljust(w) if i in (0, len(row) - 1) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(row, width))]
        lines.append("  " + "  ".join(line).rstrip())
    return "\n".join(lines)


def summary(trace, top):
    totals = operations(trace)
    ranked = sorted(totals.items(), key=lambda item: (-item[1].ns, item[0]))
    rows = [(name, ms(t.ns), str(len(t.spans)), percent(t.ns, trace.wall), rate(t.flop, t.ns), rate(t.bytes, t.ns),
             max(t.kernels, key=t.kernels.get) if t.kernels else "")
            for name, t in ranked[:top]]
    parts = [f"{ms(trace.wall)} ms, {sum(len(lane.spans) for lane in trace.lanes)} spans in "
             f"{len(trace.lanes)} lanes" + "".join(f", {k} {v}" for k, v in trace.notes.items()
                                                   if k in ("command", "threads", "isa")),
             table(f"Top operations ({len(rows)} of {len(ranked)})",
                   ("operation", "ms", "count", "% of wall", "GFLOP/s", "GB/s", "kernel"), rows)]
    rows = []
    for lane in trace.lanes:
        work, join, wait, outside = idle_times(lane)
        rows.append((lane.name, ms(work), ms(join), ms(wait), ms(outside), percent(wait + outside, trace.wall), ""))
    parts.append(table("Lanes: at work, in loops beside the own share, waiting, outside of spans",
                       ("lane", "work ms", "loop ms", "wait ms", "outside ms", "idle %", ""), rows))
    path = critical_path(trace)
    rows = [(name, lane, ms(ns), percent(ns, trace.wall), "") for (lane, name), ns in path.most_common(top)]
    parts.append(table(f"Critical path ({len(rows)} of {len(path)})",
                       ("operation", "lane", "ms", "% of wall", ""), rows))
    onednn = sum(span.end - span.begin for lane in trace.lanes for span in lane.spans
                 if span.args.get("kernel") == "onednn")
    if onednn:
        parts.append(f"Of {ms(onednn)} ms in oneDNN's products the workers' shares are not recorded: "
                     "they look idle meanwhile.")
    if int(trace.notes.get("dropped_events", 0)):
        parts.append(f"{trace.notes['dropped_events']} events found no room: the end of the trace has gaps.")
    return "\n\n".join(parts)


def draw(trace, path):
    try:
        import matplotlib
    except ImportError as error:
        raise Failure("--png takes matplotlib, which is not installed (python3-matplotlib)") from error
    matplotlib.use("Agg")
    from matplotlib import pyplot

    def label(span):
        return "(waiting)" if span.kind == "wait" else span.operation()[0]

    times = collections.Counter()
    for lane in trace.lanes:
        for begin, end, span in lane.segments:
            if span is not None and span.kind != "wait":
                times[label(span)] += end - begin
    palette = pyplot.get_cmap("tab20").colors
    colors = {name: palette[i] for i, (name, _) in enumerate(times.most_common(len(palette)))}
    colors["(waiting)"] = "0.9"
    figure, (top, bottom) = pyplot.subplots(
        2, 1, sharex=True, figsize=(14, 2.5 + 0.6 * len(trace.lanes)),
        gridspec_kw={"height_ratios": [max(2, len(trace.lanes)), 1.5]}, constrained_layout=True)
    for row, lane in enumerate(reversed(trace.lanes)):
        bars = collections.defaultdict(list)
        for begin, end, span in lane.segments:
            if span is not None:
                bars[label(span)].append(((begin - trace.begin) / 1e6, (end - begin) / 1e6))
        for name, spans in bars.items():
            top.broken_barh(spans, (row + 0.1, 0.8), color=colors.get(name, "0.6"))
    top.set_yticks([i + 0.5 for i in range(len(trace.lanes))])
    top.set_yticklabels([lane.name for lane in reversed(trace.lanes)])
    for name, color in colors.items():
        top.plot([], [], color=color, linewidth=6, label=name)
    top.legend(loc="upper left", bbox_to_anchor=(1, 1), fontsize="x-small")
    memory = [(e["ts"] / 1e3 - trace.begin / 1e6, e["args"]["resident_bytes"] / 1e6)
              for e in trace.counters if e["name"] == "memory"]
    if memory:
        bottom.plot(*zip(*memory), color="tab:blue")
    bottom.set_ylabel("MB resident")
    bottom.set_xlabel("ms")
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("trace", help="a file of --trace")
    parser.add_argument("--top", type=int, default=15, help="operations to list (15)")
    parser.add_argument("--png", help="draw the lanes and the memory into this file")
    a = parser.parse_args()
    try:
        try:
            trace = Trace(a.trace)
        except (KeyError, TypeError, AttributeError) as error:
            raise Failure(f"an event without what events have: {error}") from error
        print(summary(trace, a.top))
        if a.png:
            draw(trace, a.png)
        sys.stdout.flush()
    except BrokenPipeError:  # whoever read has seen enough
        sys.stderr.close()
    except Failure as failure:
        print(f"trace_summary.py: {a.trace}: {failure}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
