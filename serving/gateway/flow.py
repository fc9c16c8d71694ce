"""One request under way: who asks, what it has been granted, and what became of its client."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from serving.emit.middleware import Message, Receive, Send
from serving.gateway import metrics
from serving.gateway.limits import Grant
from serving.gateway.model import KeyEntry
from serving.gateway.replies import Reply

__all__ = ["ABORT_KEY", "FLOW_KEY", "ClientStalledError", "Flow", "sweep"]

FLOW_KEY: Final = "tocsin.flow"
ABORT_KEY: Final = "tocsin.abort"
"""Where `scope["state"]` holds what cuts the connection, when the server offers that."""


_GRACE_S: Final = 1.0
"""How long an upstream may take to end a stream that it has said is over."""


class ClientStalledError(OSError):
    """The client takes nothing of its answer."""


@dataclass(eq=False, slots=True)
class Flow:
    """The state of one request in the gateway."""

    task: asyncio.Task[Any]
    key: KeyEntry | None = None
    refusal: Reply | None = None
    """What the client is to be told instead of an answer."""
    grant: Grant | None = None
    started: bool = False
    """Whether the client has been sent anything."""
    streaming: bool = False
    """Whether that was the beginning of a stream, to which an error can be added."""
    finished: bool = False
    gone: bool = False
    stalled: bool = False
    sending_since: float | None = None
    watcher: asyncio.Task[None] | None = field(default=None)
    told_all: Callable[[], bool] = field(default=lambda: False)
    """Whether the client has been told that its stream is over, so that it may hang up."""

    def guard(self, send: Send, now: Callable[[], float]) -> Send:
        """Return a `send` that the sweep can break off, and that notes what was sent."""

        async def guarded(message: Message) -> None:
            self.started = True
            self.sending_since = now()
            try:
                await send(message)
            except asyncio.CancelledError:
                if not self.stalled:
                    raise
                self.task.uncancel()
                raise ClientStalledError("the client takes nothing") from None
            finally:
                self.sending_since = None

        return guarded

    def watch(self, receive: Receive) -> None:
        """Cancel the request as soon as its client leaves."""
        self.watcher = asyncio.create_task(_until_gone(receive))
        self.watcher.add_done_callback(self._left)

    def unwatch(self) -> None:
        """Stop to watch."""
        self.finished = True
        if self.watcher is not None:
            self.watcher.cancel()

    def _left(self, watcher: asyncio.Task[None]) -> None:
        if self.finished or watcher.cancelled():
            return
        if self.told_all():  # what comes after that is for us: usage, and a server's own view
            asyncio.get_running_loop().call_later(_GRACE_S, self._cut)
        else:
            self._cut()

    def _cut(self) -> None:
        if not self.finished:
            self.gone = True
            self.task.cancel()


async def _until_gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def sweep(flows: Iterable[Flow], limit_s: float, now: Callable[[], float]) -> None:
    """Break off requests whose clients take nothing, until cancelled.

    One sweep for all requests costs a chunk nothing, where a timer for each would.
    """
    while True:
        await asyncio.sleep(min(1.0, limit_s / 2))
        late = now() - limit_s
        for flow in list(flows):
            if flow.sending_since is not None and flow.sending_since < late and not flow.stalled:
                flow.stalled = True
                metrics.STALLED.labels("answer").inc()
                flow.task.cancel()
