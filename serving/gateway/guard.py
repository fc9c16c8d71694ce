"""Uvicorn's HTTP protocol with a limit on how long the head of a request may take.

Uvicorn bounds the pause between two requests but not the time of a head, so a client that sends one
byte a minute (Slowloris) would hold a connection for ever.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol, cast

from uvicorn.protocols.http.auto import AutoHTTPProtocol

from serving.gateway import metrics
from serving.gateway.flow import ABORT_KEY

__all__ = ["guarded_protocol"]


class _Cycle(Protocol):
    response_complete: bool


def _count() -> None:
    metrics.STALLED.labels("head").inc()


def guarded_protocol(
    header_timeout_s: float, late: Callable[[], None] = _count
) -> type[asyncio.Protocol]:
    """Return the protocol class for a server; `late` is called for each head that is too slow."""

    class Guarded(AutoHTTPProtocol):  # type: ignore[misc,valid-type]  # chosen at run time
        app_state: dict[str, Any]
        _deadline: asyncio.TimerHandle | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self.app_state = {**self.app_state, ABORT_KEY: transport.abort}
            self._arm()

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            cycle = cast("_Cycle | None", self.cycle)
            if cycle is not None and not cycle.response_complete:
                self._disarm()
            elif self._deadline is None:
                self._arm()

        def connection_lost(self, exc: Exception | None) -> None:
            self._disarm()
            super().connection_lost(exc)

        def _arm(self) -> None:
            self._deadline = self.loop.call_later(header_timeout_s, self._late)

        def _disarm(self) -> None:
            if self._deadline is not None:
                self._deadline.cancel()
                self._deadline = None

        def _late(self) -> None:
            late()
            self._deadline = None
            self.transport.abort()

    return Guarded
