"""Rounds of all contenders over the same backlog, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from benchmarks.core.errors import InstallError, ScriptError
from benchmarks.core.measured import Measured, summary
from benchmarks.core.names import KINDS
from benchmarks.core.peer_run import run_peer
from benchmarks.core.preload import Backlog
from benchmarks.core.registry import TOCSIN, Contender
from benchmarks.core.rig import Broker
from benchmarks.core.tocsin_run import run_tocsin

__all__ = ["Throughput", "measure_throughput", "rotated"]

Tell = Callable[[str], None]


@dataclass(slots=True)
class Throughput:
    """Runs by (kind of record, contender), and why some could not be made."""

    runs: dict[tuple[str, str], list[Measured]] = field(default_factory=dict)
    failures: dict[tuple[str, str], str] = field(default_factory=dict)

    def median(self, kind: str, name: str) -> float | None:
        """Return a contender's median of events a second, None without runs."""
        runs = self.runs.get((kind, name))
        return float(summary(runs)["events_per_s"]["median"]) if runs else None

    def ratio(self, kind: str, name: str, over: str, over_kind: str = "") -> float | None:
        """Return how many times as fast one is as another, by their medians."""
        mine, theirs = self.median(kind, name), self.median(over_kind or kind, over)
        return mine / theirs if mine and theirs else None

    def as_dict(self) -> dict[str, Any]:
        """Return all figures for JSON."""
        figures: dict[str, Any] = {}
        for (kind, name), runs in self.runs.items():
            figures.setdefault(kind, {})[name] = summary(runs)
        for (kind, name), reason in self.failures.items():
            figures.setdefault(kind, {})[name] = {"failed": reason}
        return figures


def rotated(contenders: Sequence[Contender], number: int) -> list[Contender]:
    """Return the contenders from another one on, so that none always comes first.

    Examples:
        >>> rotated("abc", 1)
        ['b', 'c', 'a']

    """
    start = number % len(contenders) if contenders else 0
    return [*contenders[start:], *contenders[:start]]


def measure_throughput(
    broker: Broker, backlog: Backlog, contenders: Sequence[Contender], rounds: int, tell: Tell
) -> Throughput:
    """Run each contender once a round on each kind of record that it takes.

    One that fails is told and left out from then on; Tocsin's failure is an error.

    Raises:
        InexactError: Tocsin lost, doubled or miscounted something.
        TocsinError, TimeoutError: its worker ended or hung.
    """
    result = Throughput()
    for number in range(rounds):
        for kind in KINDS:
            for contender in rotated(contenders, number):
                place = (kind, contender.name)
                if kind not in contender.kinds or place in result.failures:
                    continue
                said = f"round {number + 1} of {rounds}, {kind}, {contender.name}"
                try:
                    measured = _run(broker, contender, kind, backlog)
                except (InstallError, ScriptError) as error:
                    result.failures[place] = str(error)
                    tell(f"{said}: failed: {error}")
                    continue
                result.runs.setdefault(place, []).append(measured)
                tell(
                    f"{said}: {measured.events_per_s:,.0f} events/s, "
                    f"{measured.cpu_s_per_million:.1f} CPU s a million, "
                    f"{measured.peak_rss_mb:.0f} MB"
                )
    return result


def _run(broker: Broker, contender: Contender, kind: str, backlog: Backlog) -> Measured:
    if contender is TOCSIN:
        return run_tocsin(broker, kind, backlog)
    return run_peer(broker, contender, kind, backlog)
