"""Cost by user from the store's rows, and the detectors' libraries."""

from __future__ import annotations

import sys
from decimal import Decimal
from typing import Any

from schemas.settings import DriftSettings
from schemas.signal import SignalName
from streams.cost import CostAgent
from streams.drift import DriftAgent
from streams.errors import StoreUnavailableError
from tests.support.events import NOW_US
from tests.support.streams import Rows

HOUR_US = 3_600_000_000
MINUTE_US = 60_000_000


class Clock:
    def __init__(self) -> None:
        self.us = NOW_US

    def __call__(self) -> int:
        return self.us


def agent_with(store: Any, clock: Clock) -> CostAgent:
    return CostAgent(store, clock, lookback_us=HOUR_US // 2, every_us=MINUTE_US)


async def test_a_users_cost_is_a_rate_and_an_unknown_price_no_zero() -> None:
    rows = [("u1", Decimal("1.5"), 2, 10), ("u2", None, 3, 3)]
    clock = Clock()
    agent = agent_with(Rows(answers={"user_id": rows}), clock)
    known, unknown = await agent.signals(NOW_US)
    assert (known.signal, known.labels) == (SignalName.COST_RATE, {"user_id": "u1"})
    assert (known.value, known.samples, known.detail) == (3.0, 8, {"cost_unknown": 2.0})
    assert (unknown.value, unknown.samples) == (None, 0)


async def test_the_store_is_asked_once_a_minute_whatever_the_clock_does() -> None:
    store, clock = Rows(), Clock()
    agent = agent_with(store, clock)
    for step_us in (0, MINUTE_US // 2, MINUTE_US // 2, -10 * MINUTE_US):
        clock.us += step_us
        await agent.signals(clock.us)
    assert len(store.asked) == 3


async def test_a_store_that_is_away_costs_a_minute_and_no_other_signal() -> None:
    class Away(Rows):
        async def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            raise StoreUnavailableError("away")

    assert await agent_with(Away(), Clock()).signals(NOW_US) == []


async def test_late_libraries_are_there_once_loaded() -> None:
    await DriftAgent(DriftSettings(), ()).load()
    assert {"scipy.stats", "river.drift"} <= sys.modules.keys()
