"""Add to a page, once it is out, which labels carry the change: no page waits for the store."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

import structlog

from alerting.grouping import Group
from alerting.intent import NotificationIntent, Share
from streams.notices import Notices

__all__ = ["Explaining", "Explains"]

log = structlog.get_logger(__name__)

_MOST: Final = 100
"""How many incidents may wait for an explanation; in a storm the newest count."""


class Explains(Protocol):
    """What says which label values carry a change."""

    async def shares(self, intent: NotificationIntent) -> tuple[Share, ...]:
        """Return the shares, the largest first; none when it cannot be told."""


class Explaining:
    """Explains incidents one after the other, and has their groups looked at again."""

    def __init__(self, explains: Explains) -> None:
        self._explains = explains
        self._waiting: deque[str] = deque(maxlen=_MOST)
        self._more = asyncio.Event()

    def want(self, incident_id: str) -> None:
        """Have an incident explained."""
        self._waiting.append(incident_id)
        self._more.set()

    async def run(
        self, notices: Notices, look_at: Callable[[Callable[[Group], bool]], None]
    ) -> None:
        """Explain for ever; a task beside the streams."""
        while True:
            await self._more.wait()
            self._more.clear()
            while self._waiting:
                await self.explain_next(notices, look_at)

    async def explain_next(
        self, notices: Notices, look_at: Callable[[Callable[[Group], bool]], None]
    ) -> None:
        """Explain the oldest of them; without an answer its page stays as it is."""
        member = notices.member(self._waiting.popleft())
        if member is None:
            return
        try:
            shares = await self._explains.shares(member.intent)
        except Exception as error:  # noqa: BLE001 - it is an extra: a page must not depend on it
            log.warning("shares_unknown", error=f"{type(error).__name__}: {error}"[:300])
            return
        latest = notices.member(member.intent.incident_id)  # it may have changed meanwhile
        if shares and latest is not None and latest.open:
            notices.put(latest.model_copy(update={"shares": shares}))
            look_at(lambda group: group.key == latest.group)
