"""One run: load, blows, the wait until all is in, the comparison."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

from tests.chaos.compare import Difference, compare, stored_windows
from tests.chaos.ledger import Ledger
from tests.chaos.partials import partials_of, tell
from tests.chaos.plan import Blow, plan
from tests.chaos.rig import BrokerKind, Rig, RigOptions, running_rig
from tests.chaos.sender import progress_of
from tests.chaos.traffic import SERIES, USERS
from tocsin.embedded.child import Child

__all__ = ["Load", "Options", "Result", "difference_in", "run", "wait_until_in"]

_POLL_S: Final = 0.1
_LOOK_S: Final = 1.0
_TELL_S: Final = 5.0
_TOLD: Final = 200
_ROWS: Final = "SELECT count() FROM requests"
_COUNTED: Final = "SELECT sum(requests) FROM windows FINAL"

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
        return self.seconds or max(15.0, 5.0 * self.kills + 10.0 * self.stalls)


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


class Load:
    """The sender's process and what it has sent so far."""

    def __init__(self, rig: Rig, number: int = 0) -> None:
        self._rig = rig
        self.out = rig.path / f"sent-{number}.npy"
        self._log = rig.path / f"sender-{number}.log"
        self._process: Child | None = None

    def start(self, events: int, seconds: float, **options: Any) -> None:
        """Start to send events over some seconds."""
        command = [sys.executable, "-m", "tests.chaos.sender"]
        command += ["--bootstrap", self._rig.broker.bootstrap, "--out", str(self.out)]
        values = {"partitions": self._rig.options.partitions, **options}
        for name, value in {"events": events, "seconds": seconds, **values}.items():
            if value is True:
                command.append(f"--{name}")
            elif value is not False:
                command += [f"--{name}", str(value)]
        self._process = Child("the sender", command, self._log)
        self._process.start()

    @property
    def progress(self) -> tuple[int, int, int]:
        """Return how many events were sent, acknowledged, and sent twice so far."""
        return progress_of(self.out)

    def running(self) -> bool:
        """Tell whether it still sends.

        Raises:
            PartFailedError: it ended without having sent all.
        """
        assert self._process is not None
        code = self._process.poll()
        if code:
            self._process.check()
        return code is None

    def stop(self) -> None:
        """End it, whatever it does."""
        if self._process is not None:
            self._process.kill()

    def ledger(self) -> Ledger:
        """Return what it sent, once it is done."""
        return Ledger.load([self.out], SERIES, USERS)


class _Blows:
    """Carries out a plan, and starts again what it ended."""

    def __init__(self, rig: Rig, blows: Sequence[Blow], result: Result, say: Say) -> None:
        self._rig = rig
        self._blows = list(blows)
        self._result = result
        self._say = say
        self._again: list[tuple[float, str, int]] = []
        self._down: set[int] = set()

    @property
    def done(self) -> bool:
        return not self._blows and not self._again

    def step(self, now_s: float) -> None:
        """Do what is due."""
        for due in [item for item in self._again if item[0] <= now_s]:
            self._again.remove(due)
            self._restore(*due[1:])
        while self._blows and self._blows[0].at_s <= now_s:
            if not self._strike(self._blows[0], now_s):
                return  # nothing is up to be hit: a moment later
            self._blows.pop(0)

    def _strike(self, blow: Blow, now_s: float) -> bool:
        rig = self._rig
        until_s = now_s + blow.down_s
        if blow.kind == "kill store":
            if rig.store.pid is None:
                return False
            self._say(f"kill the store for {blow.down_s:.1f} s")
            rig.kill_store()
            self._result.store_kills += 1
            self._again.append((until_s, "store", 0))
            return True
        up = [n for n in range(len(rig.workers)) if n not in self._down]
        if not up:
            return False
        number = up[blow.pick % len(up)]
        self._down.add(number)
        if blow.kind == "kill worker":
            self._say(f"kill worker {number} for {blow.down_s:.1f} s")
            rig.scrape(number)
            rig.kill_worker(number)
            self._result.worker_kills += 1
            self._again.append((until_s, "worker", number))
        else:
            self._say(f"stall worker {number} for {blow.down_s:.1f} s")
            rig.stall_worker(number)
            self._result.stalls += 1
            self._again.append((until_s, "stalled", number))
        return True

    def _restore(self, what: str, number: int) -> None:
        if what == "store":
            self._rig.start_store()
            return
        self._down.discard(number)
        if what == "worker":
            self._rig.start_worker(number)
        else:
            self._rig.resume_worker(number)


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
        blows = plan(options.seed, options.load_s, options.kills, options.stalls, stall_s)
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
            _strike_during(rig, load, _Blows(rig, blows, result, say), say)
        finally:
            load.stop()
        result.load_s = round(time.monotonic() - began, 2)
        ledger = load.ledger()
        result.sent_twice = load.progress[2]
        say(f"all sent ({result.sent_twice} twice); waiting until all is in")
        settling = time.monotonic()
        result.in_time = wait_until_in(rig, len(ledger), options.wait_s, say)
        result.settled_s = round(time.monotonic() - settling, 2)
        say("comparing")
        result.differences = difference_in(rig, ledger, say)
        _read_figures(rig, result)
    result.seconds = round(time.monotonic() - started, 2)
    return result


def wait_until_in(rig: Rig, total: int, patience_s: float, say: Say = lambda _: None) -> bool:
    """Wait until rows and windows hold all events, and a moment more for what comes twice.

    Returns:
        False when nothing more came in for ``patience_s``.
    """
    before, since, told = (0, 0), time.monotonic(), 0.0
    while True:
        rig.restart_ended()
        rows, counted = held = _held(rig)
        if rows >= total and counted >= total:
            break
        now = time.monotonic()
        if held != before:
            before, since = held, now
        if now - since > patience_s:
            say(f"nothing for {patience_s:g} s: {rows} rows, {counted} in windows, of {total}")
            return False
        if now - told > _TELL_S:
            told = now
            say(f"{rows} rows, {counted} in windows, of {total}")
        time.sleep(0.5)
    time.sleep(2 * rig.window_us / 1e6)
    for number in range(len(rig.workers)):
        rig.scrape(number)
    return True


def difference_in(
    rig: Rig, ledger: Ledger, say: Say = lambda _: None, letters: int = 0
) -> list[Difference]:
    """Compare, and for wrong windows say what their partials are."""
    found = compare(rig.client, ledger, rig.window_us, letters)
    for difference in found:
        say(str(difference))
    wrong = _wrong_windows(rig, ledger)
    if wrong:
        partials = asyncio.run(partials_of(rig.broker.bootstrap, wrong[:_TOLD]))
        more = rig.path / "wrong-windows.txt"
        more.write_text(tell(partials))
        say(f"{tell({wrong[0]: partials[wrong[0]]})}\n(more in {more})")
    return found


def _wrong_windows(rig: Rig, ledger: Ledger) -> list[tuple[Any, ...]]:
    wanted, stored = ledger.windows(rig.window_us), stored_windows(rig.client)
    keys = sorted(wanted.keys() | stored.keys(), key=str)
    return [key for key in keys if wanted.get(key) != stored.get(key)]


def _strike_during(rig: Rig, load: Load, blows: _Blows, say: Say) -> None:
    began = time.monotonic()
    looked = told = 0.0
    loading = True
    while (loading := loading and load.running()) or not blows.done:
        now_s = time.monotonic() - began
        blows.step(now_s)
        rig.broker.process.check()
        if now_s - looked > _LOOK_S:
            looked = now_s
            rig.restart_ended()
            for number, worker in enumerate(rig.workers):
                if worker.pid is not None and number not in blows._down:
                    rig.scrape(number)
        if now_s - told > _TELL_S:
            told = now_s
            say(f"{now_s:5.1f} s: {load.progress[1]} events sent")
        time.sleep(_POLL_S)
    rig.wait_for_store()


def _held(rig: Rig) -> tuple[int, int]:
    return int(rig.value(_ROWS)), int(rig.value(_COUNTED))


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
