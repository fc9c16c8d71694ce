"""A report as Markdown: one text for the terminal and for docs/benchmarks.md."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from benchmarks.core.names import BATCHED, KINDS, SINGLE
from benchmarks.core.registry import CONTENDERS, TOCSIN

__all__ = ["grid", "render"]

_TITLES: Final = {SINGLE: "One event a record", BATCHED: "500 events a record"}


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table whose columns line up; all but the first are set to the right.

    Examples:
        >>> print(grid(["a", "b"], [["x", "10"], ["long", "2"]]))
        | a    |  b |
        |------|---:|
        | x    | 10 |
        | long |  2 |

    """
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    widths = [widths[0], *(max(2, width) for width in widths[1:])]

    def line(cells: Sequence[str]) -> str:
        first, *rest = zip(cells, widths, strict=True)
        padded = [first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)]
        return f"| {' | '.join(padded)} |"

    rule = ["-" * (widths[0] + 2), *("-" * (width + 1) + ":" for width in widths[1:])]
    return "\n".join([line(head), f"|{'|'.join(rule)}|", *map(line, rows)])


def render(report: Mapping[str, Any]) -> str:
    """Return all parts of the report that there are."""
    parts = []
    if "throughput" in report:
        parts += [_throughput(report, kind) for kind in KINDS if kind in report["throughput"]]
    if report.get("latency"):
        parts.append(_latency(report["latency"]))
    if report.get("scale"):
        parts.append(_scale(report["scale"]))
    if report.get("soak"):
        parts.append(_soak(report["soak"]))
    if report.get("aims"):
        parts.append(_aims(report["aims"]))
    return "\n\n".join(parts)


def _throughput(report: Mapping[str, Any], kind: str) -> str:
    found = report["throughput"][kind]
    over = report.get("ratios", {}).get(kind, {})
    rows, notes = [], []
    for name, contender in CONTENDERS.items():
        figures = found.get(name)
        if figures is None:
            continue
        if "failed" in figures:
            rows.append([contender.title, "failed", "", "", ""])
            notes.append(f"{contender.title} failed: {' '.join(figures['failed'].split())}")
            continue
        rows.append(
            [
                contender.title,
                _spread(figures["events_per_s"], "{:,.0f}"),
                _spread(figures["cpu_s_per_million"], "{:.1f}"),
                f"{figures['peak_rss_mb']['max']:.0f}",
                "" if name == TOCSIN.name else f"{over[name]:.2f}" if name in over else "",
            ]
        )
    head = ["contender", "events/s", "CPU s a million", "peak MB", "Tocsin is ... times"]
    text = f"### {_TITLES[kind]}\n\n{grid(head, rows)}"
    beside = found.get(TOCSIN.name, {})
    if "store_cpu_s" in beside:
        a_million = 1e6 / report["settings"]["events"]
        store, broker = (beside[f"{part}_cpu_s"]["median"] for part in ("store", "broker"))
        notes.append(
            f"Beside Tocsin's worker the store used {store * a_million:.1f} and the broker "
            f"{broker * a_million:.1f} CPU seconds a million events, their start-up included."
        )
    return "\n\n".join([text, *notes])


def _latency(every: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            f"{figures['events_per_s']:,.0f}",
            *(f"{figures['row_visible_s'][name]:.2f}" for name in ("p50", "p99", "max")),
            *(f"{figures['window_visible_s'][name]:.2f}" for name in ("p50", "p99", "max")),
            f"{figures['sender_late_p99_s'] * 1e3:.0f}",
            f"{figures['sender_dropped']:,}",
            f"{figures['worker_cpus']:.2f}",
            f"{figures['worker_rss_mb']['max']:.0f}",
        ]
        for figures in every
    ]
    head = ["events/s", "row P50", "P99", "max", "window P50", "P99", "max"]
    head += ["sender late P99, ms", "it dropped", "worker's CPUs", "peak MB"]
    title = "### From a request's end to its row, and to its closed window, in seconds"
    return f"{title}\n\n{grid(head, rows)}"


def _scale(scale: Mapping[str, Any]) -> str:
    rows = []
    for kind, figures in scale.items():
        for words, name in (("one worker", "one"), ("two workers", "two")):
            one = figures[name]
            rows.append(
                [
                    f"{_TITLES[kind].lower()}, {words}",
                    _spread(one["events_per_s"], "{:,.0f}"),
                    f"{figures['ratio']:.2f}" if name == "two" else "",
                    f"{one['seconds']['median']:.2f}",
                    *(
                        f"{one[f'{part}_cpu_s']['median']:.2f}"
                        for part in ("worker", "store", "broker")
                    ),
                ]
            )
    head = ["", "events/s", "times one", "s", "workers' CPU s", "store's", "broker's"]
    return f"### One worker and two\n\n{grid(head, rows)}"


def _soak(soak: Mapping[str, Any]) -> str:
    memory = soak["worker_rss_mb"]
    return (
        "### Memory at full load\n\n"
        f"{soak['events']:,} events in {soak['seconds']:.0f} s ({soak['events_per_s']:,.0f}/s), "
        f"ended by {soak['ended_by']}; never fewer than {soak['least_backlog_records']:,} records "
        f"were waiting. The worker's memory: {memory['first']:.0f} MB at first, at most "
        f"{memory['max']:.0f} MB, at the end {memory['last']:.0f} MB; slope "
        f"{memory['slope_mb_per_min']:+.2f} MB a minute."
    )


def _aims(every: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [
            one["aim"],
            f"{one['value']:.2f}",
            f">= {one['at_least']:g}" if "at_least" in one else f"< {one['below']:g}",
            "yes" if one["met"] else "no",
        ]
        for one in every
    ]
    return f"### Aims\n\n{grid(['', 'measured', 'aim', 'met'], rows)}"


def _spread(figures: Mapping[str, float], form: str) -> str:
    middle, least, most = (form.format(figures[name]) for name in ("median", "min", "max"))
    return middle if least == most else f"{middle} ({least}-{most})"
