"""What happens when partitions come to this worker, and when they go."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable
from typing import Any, Final, Protocol

import structlog

from schemas.topics import Topics
from streams.app import App
from streams.ingest import IngestAgent
from streams.windows import WindowsAgent

__all__ = ["Decides", "Ownership"]

log = structlog.get_logger(__name__)

_LAST_FLUSH_S: Final = 5.0


class Decides(Protocol):
    """An agent of the topics with one partition, which one worker has at a time."""

    async def assigned(self, owner: bool) -> None:
        """Learn whether this worker decides from now on."""


class Ownership:
    """Tells the agents which partitions are this worker's.

    Faust revokes every partition at each rebalance and then assigns those of this worker; what
    stays is told apart here. Before partitions go, what is gathered from them is sent and
    committed, so that the next worker reads little again.
    """

    def __init__(
        self,
        app: App,
        windows: WindowsAgent,
        ingest: IngestAgent,
        decide: Collection[Decides],
        outboxes: Collection[Decides],
    ) -> None:
        self._app = app
        self._windows = windows
        self._ingest = ingest
        self._decide = decide
        self._outboxes = outboxes

    def connect(self) -> None:
        """Listen to the application's signals."""
        self._app.on_partitions_revoked.connect(self._revoked, weak=False)
        # Only now are the tables those of the last owner.
        self._app.on_rebalance_complete.connect(self._settled, weak=False)

    async def leave(self) -> None:
        """Send what is gathered, at the end; what cannot be sent is read again."""
        try:
            async with asyncio.timeout(_LAST_FLUSH_S):
                await self._windows.flush()
        except TimeoutError:
            log.warning("last_flush_unsent")

    async def _revoked(self, _: Any, revoked: Iterable[Any], **__: Any) -> None:
        for outbox in self._outboxes:
            await outbox.assigned(False)
        partitions = _requests(revoked)
        await self._windows.revoked(partitions)
        self._ingest.revoked(partitions)
        await self._app.consumer.commit()

    async def _settled(self, *_: Any, **__: Any) -> None:
        places = self._app.consumer.assignment()
        self._ingest.assigned()
        self._windows.assigned(_requests(places))
        # Topics of one partition stay together on one worker; llm.windows stands for all.
        owner = any(place.topic == Topics.WINDOWS.name for place in places)
        for agent in (*self._decide, *self._outboxes):
            await agent.assigned(owner)


def _requests(places: Iterable[Any]) -> list[int]:
    return sorted(place.partition for place in places if place.topic == Topics.REQUESTS.name)
