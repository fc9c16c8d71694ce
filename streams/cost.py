"""Cost per user: the store's hourly rollup, asked from time to time, as signals.

Rates by model and feature come from the windows (see ``performance``); users are too many to be
a dimension of windows, and the rollup has them already.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Final

import structlog

from detectors.closed_window import Window
from schemas.base import SCHEMA_VERSION
from schemas.clock import Clock
from schemas.signal import Signal, SignalName, SignalQuery
from streams.errors import AbandonedError, StoreRefusedError, StoreUnavailableError
from streams.store import Store

__all__ = ["CostAgent"]

log = structlog.get_logger(__name__)

_TOP_USERS: Final = 100

_QUERY: Final = """
    SELECT user_id,
           sum(cost_usd) AS cost,
           countIf(cost_usd IS NULL) AS unknown,
           count() AS requests
    FROM requests
    WHERE end_time > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
      AND end_time <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')
      AND user_id IS NOT NULL
    GROUP BY user_id
    ORDER BY cost DESC NULLS LAST
    LIMIT {top:UInt32}
"""


class CostAgent:
    """USD per hour of the users that cost the most, over the last hour."""

    def __init__(self, store: Store, clock: Clock, *, lookback_us: int, every_us: int) -> None:
        self._store = store
        self._clock = clock
        self._lookback_us = lookback_us
        self._every_us = every_us
        self._asked_us = 0

    def take_in(self, windows: Sequence[Window]) -> None:
        """Do nothing: the store has what is needed."""

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Do nothing: what is said does not hang on the rules."""

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return one cost rate for each of the top users, nothing between two questions."""
        now_us = self._clock()
        if abs(now_us - self._asked_us) < self._every_us:
            return []
        self._asked_us = now_us
        try:
            rows = await self._store.query(
                _QUERY,
                {"since": end_us - self._lookback_us, "until": end_us, "top": _TOP_USERS},
            )
        except (StoreUnavailableError, StoreRefusedError, AbandonedError) as error:
            log.warning("user_cost_unknown", error=str(error)[:300])
            return []
        hours = self._lookback_us / 3.6e9
        return [
            Signal(
                schema_version=SCHEMA_VERSION,
                signal=SignalName.COST_RATE,
                labels={"user_id": user},
                over_s=self._lookback_us / 1e6,
                window_end_us=end_us,
                value=None if cost is None else float(cost) / hours,
                samples=requests - unknown,
                detector="user_cost",
                detail={"cost_unknown": float(unknown)},
            )
            for user, cost, unknown, requests in rows
        ]
