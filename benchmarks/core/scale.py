"""One worker and two over the same backlog, in turn, and where the time goes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.core.measured import Measured, spread, summary
from benchmarks.core.names import KINDS
from benchmarks.core.preload import Backlog
from benchmarks.core.rig import Broker
from benchmarks.core.tocsin_run import run_tocsin

__all__ = ["measure_scale"]


def measure_scale(
    broker: Broker, backlog: Backlog, rounds: int, tell: Callable[[str], None]
) -> dict[str, Any]:
    """Return by kind of record the figures of one and of two workers, and their ratio.

    Raises:
        InexactError, PartFailedError, TimeoutError: as in ``run_tocsin``.
    """
    runs: dict[tuple[str, int], list[Measured]] = {}
    for number in range(rounds):
        for kind in KINDS:
            for workers in (1, 2):
                measured = run_tocsin(broker, kind, backlog, workers)
                runs.setdefault((kind, workers), []).append(measured)
                tell(
                    f"scale, round {number + 1} of {rounds}, {kind}, {workers} worker(s): "
                    f"{measured.events_per_s:,.0f} events/s in {measured.seconds:.2f} s, CPU s: "
                    f"workers {measured.cpu_seconds:.2f}, store {measured.other['store_cpu_s']:.2f}"
                    f", broker {measured.other['broker_cpu_s']:.2f}"
                )
    figures: dict[str, Any] = {}
    for kind in KINDS:
        one, two = (_figures(runs[kind, workers]) for workers in (1, 2))
        ratio = two["events_per_s"]["median"] / one["events_per_s"]["median"]
        figures[kind] = {"one": one, "two": two, "ratio": ratio}
    return figures


def _figures(runs: list[Measured]) -> dict[str, Any]:
    workers = spread([run.cpu_seconds for run in runs]).as_dict()
    return {**summary(runs), "worker_cpu_s": workers}
