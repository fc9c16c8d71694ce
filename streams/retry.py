"""Try until it is done: for steps that a log's order makes everything behind them wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import structlog

from streams.errors import AbandonedError

__all__ = ["until_done"]

log = structlog.get_logger(__name__)

T = TypeVar("T")

_FIRST_S: Final = 0.1
_LONGEST_S: Final = 10.0


async def until_done(what: str, work: Callable[[], Awaitable[T]]) -> T:
    """Return what ``work`` returns, once it does; pauses double from 0.1 s to 10 s.

    A cancellation ends it, as it ends any wait.

    Raises:
        AbandonedError: from ``work``.
    """
    pause = _FIRST_S
    while True:
        try:
            return await work()
        except AbandonedError:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, what waits must not be lost
            log.warning("tried_in_vain", what=what, error=f"{type(error).__name__}: {error}"[:500])
        await asyncio.sleep(pause)
        pause = min(pause * 2, _LONGEST_S)
