"""Play both stories: an engine that dies in mid-stream, and a version that answers too late."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

import httpx
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.flag import FlagKey
from tests.demo_vllm.moments import MOMENTS, of_story
from tests.demo_vllm.parts import SECOND, Parts
from tests.demo_vllm.scenario import CLIENTS, DEAD, GOOD, LATE, Scenario, Story
from tests.demo_vllm.traffic import Outcome, Traffic, now_us
from tocsin.demo.checks import rows_in_store
from tocsin.demo.moments import Moment, happened

__all__ = ["DemoFailedError", "Played", "play"]

_LOOK_S: Final = 0.3
_WARM: Final = 60
"""Requests that a version has answered before something happens to it."""
_TRIED: Final = 5
_FEW: Final = 2
"""Clients while a server starts, which needs a core for itself."""
_DIRECT: Final = 5
_IN_WINDOWS: Final = "SELECT sum(requests) FROM windows FINAL"
_ANSWERED: Final = "SELECT model_version, count() FROM requests WHERE NOT failed GROUP BY 1"


class DemoFailedError(Exception):
    """Something that the demo shows did not happen."""


@dataclass(slots=True)
class Played:
    """What happened; times are UTC microseconds."""

    traffic: Traffic
    direct: Traffic
    moments: dict[str, int] = field(default_factory=dict)
    answered: dict[str, int] = field(default_factory=dict)
    """Answers by version, as far as they are in the store."""
    doing: str = ""
    rows: int = 0
    in_windows: int = 0
    ejected: bool = False
    """Whether the gateway leaves the second server alone."""


@dataclass(slots=True)
class _Play:
    parts: Parts
    scenario: Scenario
    played: Played
    report: Callable[[Moment, int], None]

    async def until(self, look: Callable[[], object], what: str) -> None:
        """Wait until something is so.

        Raises:
            DemoFailedError: it was not in time; says what was waited for.
        """
        deadline = time.monotonic() + self.scenario.patience_s
        while not look():
            self.parts.check()
            if time.monotonic() > deadline:
                raise DemoFailedError(f"not within {self.scenario.patience_s:g} s: {what}")
            await asyncio.sleep(0.05)

    def note(self, story: Story, step: str, at_us: int) -> None:
        """Enter a moment that the store does not know."""
        name = of_story(story, step)
        if name not in self.played.moments:
            self.played.moments[name] = at_us
            self.report(next(m for m in MOMENTS if m.name == name), at_us)

    def set(self, key: FlagKey, variant: str, reason: str) -> None:
        """Set a flag, as whoever releases versions would."""
        self.parts.flags.set_variant(
            key, variant, by="release pipeline", reason=reason, at_us=now_us()
        )

    async def steps(self, story: Story, *steps: str) -> None:
        """Wait until these steps of a story have happened."""
        for step in steps:
            name = of_story(story, step)
            title = next(m.title for m in MOMENTS if m.name == name)
            await self.until(lambda name=name: name in self.played.moments, title)  # type: ignore[misc]


async def play(
    parts: Parts, scenario: Scenario, played: Played, report: Callable[[Moment, int], None]
) -> None:
    """Play it all; `played` is filled as it goes.

    Raises:
        DemoFailedError: something did not happen.
    """
    run = _Play(parts, scenario, played, report)
    async with _watched(run):
        await _warm_up(run)
        await _engine_dies(run)
        await _late_version(run)
        await _ends(run)


async def _warm_up(run: _Play) -> None:
    traffic, played = run.played.traffic, run.played
    # A server's first answers are slow. Were all clients waiting, the rule on late first tokens
    # would, rightly, take the new version back before it has come to any harm.
    played.doing = f"first answers of {GOOD} and, by a canary, {DEAD.version}"
    traffic.clients(_FEW)
    run.set(FlagKey.CANARY_VERSION, DEAD.version, "try it")
    run.set(FlagKey.CANARY_PERCENT, "25", "try it")
    await run.until(
        lambda: played.answered.get(DEAD.version, 0) >= _TRIED, f"answers of {DEAD.version}"
    )
    run.set(FlagKey.CANARY_PERCENT, "0", "tried")
    played.doing = f"healthy traffic on {GOOD}, {CLIENTS} clients"
    traffic.clients(CLIENTS)
    await run.until(lambda: traffic.count(Outcome.ANSWERED) >= _WARM, f"{_WARM} answers")
    pace_s = traffic.pace_s() or run.scenario.stream_s
    traffic.tokens = round(min(256, max(24, traffic.tokens * run.scenario.stream_s / pace_s)))


async def _engine_dies(run: _Play) -> None:
    parts, played, traffic = run.parts, run.played, run.played.traffic
    played.doing = f"{DEAD.version} promoted, and good"
    run.set(FlagKey.MODEL_VERSION, DEAD.version, "promote it")
    await run.until(
        lambda: played.answered.get(DEAD.version, 0) >= _WARM, f"{_WARM} answers of {DEAD.version}"
    )
    # Looked up first: nothing runs between the look at the streams and the kill.
    engine, server = parts.second.engine(), parts.second.process.pid
    pid = engine if run.scenario.kill == "engine" else server
    await run.until(
        lambda: len(traffic.mid_stream()) >= CLIENTS // 2, "half of all clients in mid-stream"
    )
    killed_us = now_us()
    os.kill(pid, signal.SIGKILL)
    run.note(DEAD, "began", killed_us)
    played.doing = f"the {run.scenario.kill} of {DEAD.version} (process {pid}) was killed"

    def first_answer() -> int | None:
        return min((s.first_us for s in traffic.since(killed_us) if s.first_us), default=None)

    await run.until(first_answer, "a request after the kill is answered")
    run.note(DEAD, "answered", first_answer() or 0)
    await run.steps(DEAD, "fired", "paged", "stands_in", "requested", "rollback", "obeyed")
    played.doing = f"rolled back to {GOOD}; is it better?"
    await run.steps(DEAD, "recovered", "resolved")


async def _late_version(run: _Play) -> None:
    parts, played, traffic = run.parts, run.played, run.played.traffic
    await run.until(lambda: parts.second.process.poll() is not None, "what is left of vLLM ends")
    played.doing = f"starting {LATE.version} where {DEAD.version} was, badly set up"
    traffic.clients(_FEW)
    parts.launch_second(LATE.version, "--max-num-seqs", "1")
    await asyncio.to_thread(parts.wait_second)
    played.doing = f"{LATE.version} has a quarter of the users for a moment"
    run.set(FlagKey.CANARY_VERSION, LATE.version, "try it")
    run.set(FlagKey.CANARY_PERCENT, "25", "try it")
    await run.until(lambda: not played.ejected, "the restarted server is in rotation again")
    run.note(LATE, "back", now_us())
    run.set(FlagKey.CANARY_PERCENT, "0", "tried")
    traffic.clients(CLIENTS)
    played.doing = f"{LATE.version} promoted: it serves one request at a time"
    run.set(FlagKey.MODEL_VERSION, LATE.version, "promote it")
    await run.steps(LATE, "promoted", "fired", "paged", "requested", "rollback", "obeyed")
    played.doing = f"rolled back to {GOOD}; is it better?"
    await run.steps(LATE, "recovered", "resolved")


async def _ends(run: _Play) -> None:
    parts, played = run.parts, run.played
    played.doing = f"{_DIRECT} requests without the gateway, then the last rows"
    for _ in range(_DIRECT):
        await played.direct.ask()
    await played.traffic.close()
    sent = len(played.traffic.ledger) + len(played.direct.ledger)
    with contextlib.suppress(DemoFailedError):  # the account will say what is missing
        await run.until(
            lambda: (
                min(played.rows, played.in_windows) >= sent
                and not any(i.open for i in parts.receiver.board.incidents.all())
            ),
            "a row for each request",
        )
    await asyncio.sleep(2)  # what was sent twice would still come


@asynccontextmanager
async def _watched(run: _Play) -> AsyncIterator[None]:
    """Look at store and receiver meanwhile, for the steps that nobody here sees happen."""
    watching = asyncio.create_task(_watch(run))
    try:
        yield
    finally:
        watching.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await watching
        for traffic in (run.played.traffic, run.played.direct):
            await traffic.close()


async def _watch(run: _Play) -> None:
    """Look from another thread: the clients' loop never waits for a query."""
    while True:
        with contextlib.suppress(ClickHouseError, OSError, httpx.TransportError):
            await asyncio.to_thread(_look, run)
        await asyncio.sleep(_LOOK_S)


def _look(run: _Play) -> None:
    played, client = run.played, run.parts.client
    happened(client, played.moments, run.report, MOMENTS)
    played.rows = rows_in_store(client)[0]
    played.ejected = run.parts.gateway_metric("tocsin_gateway_ejected", upstream=SECOND) > 0
    played.in_windows = client.query(_IN_WINDOWS).result_rows[0][0]
    played.answered = dict(client.query(_ANSWERED).result_rows)
    for incident in run.parts.receiver.board.incidents.all():
        for story in (DEAD, LATE):
            if f" {story.version}: " in incident.summary:
                run.note(story, "paged", incident.opened_at_us)
