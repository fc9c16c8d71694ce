"""A rollout through a real gateway: a bad version is taken back, and no client has noticed it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random

import pytest

from schemas.event import RequestEvent, Route
from schemas.flag import FlagKey
from serving.flags.store import FlagStore
from serving.gateway.first_flags import with_gateway_flags
from serving.rollout.drive import step
from serving.rollout.machine import Metric, Outcome, RolloutPolicy, RolloutState
from serving.rollout.sequential import Look
from serving.rollout.steer import Steering
from tests.support.gateway import CHAT, RunningGateway, file_of, running_gateway
from tests.support.upstream import Act, error, ok, running_upstream

pytestmark = pytest.mark.acceptance

POLICY = RolloutPolicy(step_requests=60, step_s=0, shadow_s=0)
USERS = 300


class EventLooks:
    """Counts the events themselves, by the rules of `serving/rollout/looks.py`."""

    def __init__(self, events: Sequence[RequestEvent]) -> None:
        self._events = events
        self._seen = 0

    def look(self, version: str, since_us: int, until_us: int) -> Mapping[Metric, Look]:
        fresh, self._seen = self._events[self._seen :], len(self._events)
        canary = [e for e in fresh if e.route is Route.CANARY]
        stable = [e for e in fresh if e.route is not Route.CANARY]
        bad = sum(e.failed or e.model_version != version for e in canary)
        return {
            Metric.ERRORS: Look(
                stable=len(stable),
                stable_bad=sum(e.failed or e.route is Route.FALLBACK for e in stable),
                canary=len(canary),
                canary_bad=bad,
            )
        }


async def ask_all(gateway: RunningGateway, random: Random) -> list[int]:
    """Send a request for each of many users; return the statuses."""
    gate = asyncio.Semaphore(16)

    async def one(user: int) -> int:
        async with gate:
            answer = await gateway.ask(CHAT, X_Tocsin_User=f"user-{user}")
        return answer.status_code

    users = list(range(USERS))
    random.shuffle(users)
    return list(await asyncio.gather(*(one(user) for user in users)))


async def rolled_out(tmp_path: Path, trial: Act) -> tuple[RolloutState, list[int], FlagStore]:
    """Roll v2 out over a gateway whose second upstream has only that; return how it ended."""
    async with running_upstream() as stable, running_upstream(trial) as canary:
        file = file_of(stable, canary, breaker={"consecutive_failures": 10_000})
        for entry in file["upstreams"].values():
            entry["provider"] = "p0"
        file["models"]["assistant"]["targets"][1]["versions"] = {"v2": "m"}
        async with running_gateway(tmp_path, file) as gateway:
            store = gateway.store
            store.update(lambda d: with_gateway_flags(d, limits=[], at_us=1))
            steering, looks = Steering(store), EventLooks(gateway.events)
            now_us, statuses, random = 1_000_000, [], Random(1)
            state = steering.begin("v2", now_us, POLICY)
            for _ in range(40):
                for key in (FlagKey.CANARY_VERSION, FlagKey.CANARY_PERCENT):
                    if state.outcome is Outcome.RUNNING:
                        await gateway.obeys(key)
                statuses += await ask_all(gateway, random)
                looks._events = gateway.events
                now_us += 1_000_000
                state = step(state, steering, looks, now_us)
                if state.outcome is not Outcome.RUNNING:
                    break
            return state, statuses, store


async def test_a_bad_version_goes_back_and_nobody_has_noticed(tmp_path: Path) -> None:
    state, statuses, store = await rolled_out(tmp_path, error(500))
    assert state.outcome is Outcome.ABORTED
    assert state.reason.startswith("errors: 100.00 %")
    assert state.step <= 2
    assert set(statuses) == {200}  # the version in force stood in each time
    document = store.read()
    assert document.flag(FlagKey.CANARY_PERCENT).variant == "0"
    assert document.flag(FlagKey.MODEL_VERSION).variant == "v1"


async def test_a_good_version_takes_over(tmp_path: Path) -> None:
    state, statuses, store = await rolled_out(tmp_path, ok())
    assert state.outcome is Outcome.DONE
    assert set(statuses) == {200}
    assert store.read().flag(FlagKey.MODEL_VERSION).variant == "v2"
    canary = state.evidence[Metric.ERRORS]
    assert canary.canary > 180
    assert canary.canary_bad == 0
