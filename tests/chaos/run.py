"""One run: load, blows, the wait until all is in, the comparison."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.compare import Difference
from tests.chaos.load import Load
from tests.chaos.plan import plan
from tests.chaos.rig import BrokerKind, Rig, RigOptions, running_rig
from tests.chaos.settle import difference_in, wait_until_in
from tests.chaos.strike import Strikes

__all__ = ["Options", "Result", "run"]

_POLL_S: Final = 0.1
_LOOK_S: Final = 1.0
_TELL_S: Final = 5.0

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run does; see ``python -m tests.chaos --help``."""

    events: int = 20_000
    kills: int = 5
    stalls: int = 0
    broker: BrokerKind = "embedded"
    workers: int = 2
    partitions: int = 4
    seed: int = 1
    seconds: float = 0.0
    time_scale: float = 1.0
    duplicates: float = 0.01
    scattered: bool = False
    wait_s: float = 60.0

    @property
    def load_s(self) -> float:
        """Return how long the load lasts: time enough for each blow to hurt."""
        return self.seconds or max(15.0, 8.0 * self.kills + 12.0 * self.stalls)


@dataclass(slots=True)
class Result:
    """What a run gave; ``differences`` empty and ``in_time`` true is what it should be."""

    events: int = 0
    rows: int = 0
    distinct: int = 0
    windows: int = 0
    window_requests: int = 0
    sent_twice: int = 0
    seconds: float = 0.0
    load_s: float = 0.0
    settled_s: float = 0.0
    worker_kills: int = 0
    store_kills: int = 0
    stalls: int = 0
    unexpected_ends: list[str] = field(default_factory=list)
    duplicates_by_id: float = 0.0
    replayed: float = 0.0
    late_requests: float = 0.0
    rebalances: float | None = None
    in_time: bool = True
    differences: list[Difference] = field(default_factory=list)

    @property
    def good(self) -> bool:
        """Tell whether everything was there, once, in time."""
        return self.in_time and not self.differences

    def figures(self) -> dict[str, Any]:
        """Return everything as JSON values."""
        return {
            **asdict(self),
            "good": self.good,
            "differences": [str(d) for d in self.differences],
        }


def run(options: Options, path: Path, say: Say) -> Result:
    """Run once in a directory.

    Raises:
        PartFailedError: broker, store or sender ended by themselves.
    """
    result = Result(events=options.events)
    started = time.monotonic()
    rig_options = RigOptions(
        broker=options.broker,
        workers=options.workers,
        partitions=options.partitions,
        time_scale=options.time_scale,
    )
    with running_rig(path, rig_options) as rig:
        say(f"ready after {time.monotonic() - started:.1f} s; load for {options.load_s:.0f} s")
        stall_s = (2 * rig.session_s, 3 * rig.session_s)
        planned = plan(options.seed, options.load_s, options.kills, options.stalls, stall_s)
        strikes = Strikes(rig, planned, say)
        load = Load(rig)
        began = time.monotonic()
        load.start(
            options.events,
            options.load_s,
            seed=options.seed,
            duplicates=options.duplicates,
            scattered=options.scattered,
        )
        try:
            _strike_during(rig, load, strikes, say)
        finally:
            load.stop()
        result.load_s = round(time.monotonic() - began, 2)
        ledger = load.ledger()
        result.sent_twice = load.progress[2]
        say(f"all sent ({result.sent_twice} twice); waiting until all is in")
        settling = time.monotonic()
        struck = strikes.done_so_far
        result.worker_kills, result.store_kills = struck["kill worker"], struck["kill store"]
        result.stalls = struck["stall worker"]
        result.in_time = wait_until_in(rig, len(ledger), options.wait_s, say)
        result.settled_s = round(time.monotonic() - settling, 2)
        say("comparing")
        result.differences = difference_in(rig, ledger, say)
        _read_figures(rig, result)
    result.seconds = round(time.monotonic() - started, 2)
    return result


def _strike_during(rig: Rig, load: Load, strikes: Strikes, say: Say) -> None:
    began = time.monotonic()
    looked = told = 0.0
    loading = True
    while (loading := loading and load.running()) or not strikes.done:
        now_s = time.monotonic() - began
        strikes.step(now_s)
        if now_s - looked > _LOOK_S:
            looked = now_s
            rig.supervise()
            for number, worker in enumerate(rig.workers):
                if worker.pid is not None and number not in strikes.down:
                    rig.scrape(number)
        if now_s - told > _TELL_S:
            told = now_s
            say(f"{now_s:5.1f} s: {load.progress[1]} events sent")
        time.sleep(_POLL_S)
    rig.wait_for_store()


def _read_figures(rig: Rig, result: Result) -> None:
    query = "SELECT count(), uniqExact(event_id) FROM requests"
    result.rows, result.distinct = rig.rows(query)[0]
    result.windows, result.window_requests = rig.rows(
        "SELECT count(), sum(requests) FROM windows FINAL"
    )[0]
    result.duplicates_by_id = rig.metric("tocsin_duplicates_total", 'how="event_id"')
    result.replayed = rig.metric("tocsin_duplicates_total", 'how="replay"')
    result.late_requests = rig.metric("tocsin_late_requests")
    rebalances = rig.metric("tocsin_rebalances_total")
    result.rebalances = rebalances or None
    result.unexpected_ends = rig.unexpected_ends
