"""What the figures are held to, and whether they reach it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from benchmarks.core.names import BATCHED, KINDS, SINGLE
from benchmarks.core.registry import CEILING, CONTENDERS, NAIVE, TOCSIN
from benchmarks.core.throughput import Throughput
from schemas.settings import StreamSettings

__all__ = ["aims", "ratios"]

_NAIVE: Final = frozenset(contender.name for contender in NAIVE)
_OF_CEILING: Final = 0.6
_OF_FAUST: Final = 30.0
_OF_PEER: Final = 1.0
_OF_ONE: Final = 1.5
_ROW_S: Final = 2.0
_RSS_MB: Final = 400.0
_FLAT_MB_PER_MIN: Final = 1.0


def ratios(throughput: Throughput) -> dict[str, dict[str, float]]:
    """Return by kind of record how many times as fast Tocsin is as each other contender.

    Naive Faust takes one event a record; Tocsin's batch records are compared with that.
    """
    found: dict[str, dict[str, float]] = {}
    for kind in KINDS:
        for name in CONTENDERS:
            if name == TOCSIN.name:
                continue
            over = SINGLE if name in _NAIVE else kind
            ratio = throughput.ratio(kind, TOCSIN.name, name, over)
            if ratio is not None:
                found.setdefault(kind, {})[name] = ratio
    return found


def aims(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return each aim that the report has figures for: name, value, bound, and whether it holds."""
    found: list[dict[str, Any]] = []

    def at_least(name: str, value: float, bound: float) -> None:
        found.append({"aim": name, "value": value, "at_least": bound, "met": value >= bound})

    def below(name: str, value: float, bound: float) -> None:
        found.append({"aim": name, "value": value, "below": bound, "met": value < bound})

    bounds = {CEILING.name: _OF_CEILING, **dict.fromkeys(_NAIVE, _OF_FAUST)}
    words = {SINGLE: "one event a record", BATCHED: "batch records"}
    for kind, over in report.get("ratios", {}).items():
        for name, ratio in over.items():
            bound = bounds.get(name, _OF_PEER)
            at_least(f"times {name}, {words[kind]}", ratio, bound)
    for kind, figures in report.get("scale", {}).items():
        at_least(f"two workers to one, {words[kind]}", figures["ratio"], _OF_ONE)
    streams = StreamSettings()
    for figures in report.get("latency", []):
        rate = f"{figures['events_per_s']:,.0f} events/s"
        below(f"row visible, P99 in s, {rate}", figures["row_visible_s"]["p99"], _ROW_S)
        below(
            f"closed window visible, P99 in s, {rate}",
            figures["window_visible_s"]["p99"],
            streams.window_s + streams.lateness_s + 1,
        )
        below(f"worker's memory in MB, {rate}", figures["worker_rss_mb"]["max"], _RSS_MB)
    if soak := report.get("soak"):
        below("worker's memory in MB, soak", soak["worker_rss_mb"]["max"], _RSS_MB)
        slope = soak["worker_rss_mb"]["slope_mb_per_min"]
        below("its slope in MB a minute", slope, _FLAT_MB_PER_MIN)
    return found
