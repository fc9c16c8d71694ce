"""Carry events from a model server to Kafka without the server ever waiting.

The emitter has a thread with a loop of its own. On the server's loop, a step that blocks it
(loading a model, a long tokenization) would stall the sending just when it tells most, and
encoding and retrying would take the server's time; a thread also needs no ASGI lifespan, and each
API process of a server simply has its own. What crosses over is one append to a bounded queue.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, Final

import structlog

from schemas.base import Message
from schemas.settings import EmitSettings, KafkaSettings
from serving.emit import counters
from serving.emit.batches import Record, encode, pack
from serving.emit.bounded_queue import BoundedQueue, Entry
from serving.emit.link import KafkaLink, make_producer
from serving.errors import EventTooLargeError

__all__ = ["KafkaEmitter"]

_MESSAGE_SIZE: Final = 1_024
"""About what a message without text holds in memory."""
_REPORT_S: Final = 30.0
_RESTART_S: Final = 1.0

_log = structlog.get_logger("tocsin.emit")


class KafkaEmitter:
    """Send messages to Kafka in batches, in the background; drop and count what does not fit."""

    def __init__(
        self,
        settings: EmitSettings,
        kafka: KafkaSettings,
        *,
        make: Callable[[KafkaSettings], Any] = make_producer,
    ) -> None:
        self._settings = settings
        self._kafka = kafka
        self._make = make
        self._queue = BoundedQueue(settings.queue_events, settings.queue_bytes)
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._pid = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._wake: asyncio.Event | None = None
        self._close: asyncio.Event | None = None
        self._idle = False
        self._closing = False
        self._deadline_s = settings.flush_timeout_s
        self.emitted = 0
        self.dropped: Counter[str] = Counter()

    def emit(self, message: Message) -> None:
        """Take a message."""
        self.emit_later(lambda: message, _MESSAGE_SIZE)

    def emit_later(self, make: Callable[[], Message], size: int) -> None:
        """Take what makes a message; it is called in the emitter's thread."""
        if self._closing:
            self._drop("shutdown", 1)
            return
        if dropped := self._queue.put(Entry(make, max(size, _MESSAGE_SIZE))):
            self._drop("queue_full", dropped)
        if self._thread is None or self._pid != os.getpid():
            self.start()
        elif self._idle:
            self._idle = False
            self._nudge()

    def start(self) -> None:
        """Start the thread, which connects; a process forked from this one starts its own."""
        with self._start_lock:
            if self._closing or (self._thread is not None and self._pid == os.getpid()):
                return
            self._pid = os.getpid()
            self._loop = self._wake = self._close = None
            self._thread = threading.Thread(target=self._main, name="tocsin-emit", daemon=True)
            self._thread.start()
            atexit.register(self.close, self._deadline_s)

    def close(self, timeout_s: float) -> None:
        """Send what is waiting, for `timeout_s` seconds at most; count the rest as dropped."""
        with self._start_lock:
            already, self._closing = self._closing, True
            thread = self._thread if self._pid == os.getpid() else None
        if not already:
            self._deadline_s = timeout_s
            self._nudge(closing=True)
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s + 2.0)
        if left := self._queue.drain():
            self._drop("shutdown", left)
        atexit.unregister(self.close)

    def _nudge(self, *, closing: bool = False) -> None:
        loop, wake, close = self._loop, self._wake, self._close
        if loop is not None and wake is not None and close is not None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(wake.set)
                if closing:
                    loop.call_soon_threadsafe(close.set)

    def _drop(self, reason: str, count: int) -> None:
        self.dropped[reason] += count
        counters.DROPPED.labels(reason).inc(count)

    def _main(self) -> None:
        try:
            asyncio.run(self._run())
        except Exception as error:  # noqa: BLE001  # a thread has nobody to raise to
            counters.contained("emitter_thread", error)

    async def _run(self) -> None:
        self._wake, self._close = asyncio.Event(), asyncio.Event()
        self._loop = asyncio.get_running_loop()
        if self._closing:  # before there was a loop to tell
            self._close.set()
        link = KafkaLink(lambda: self._make(self._kafka))
        report = asyncio.create_task(self._report())
        closing = asyncio.create_task(self._close.wait())
        try:
            while not await self._watch(asyncio.create_task(self._pump(link)), closing):  # noqa: ASYNC110
                await asyncio.sleep(_RESTART_S)
        finally:
            report.cancel()
            closing.cancel()
            with suppress(Exception):
                await asyncio.wait_for(link.close(), timeout=1.0)

    async def _watch(self, pump: asyncio.Task[None], closing: asyncio.Task[Any]) -> bool:
        """Let the pump run; return True when all is over, False when it has to be started again."""
        await asyncio.wait({pump, closing}, return_when=asyncio.FIRST_COMPLETED)
        if not pump.done():
            await asyncio.wait({pump}, timeout=self._deadline_s)
            pump.cancel()
            await asyncio.wait({pump})
        if pump.cancelled():
            return True
        if (error := pump.exception()) is not None:
            counters.contained("pump", error)
            return self._closing
        return True

    async def _pump(self, link: KafkaLink) -> None:
        """Gather, pack and send, until closed and empty."""
        with suppress(Exception):
            await link.connect()  # ahead of the first event; what fails here is tried again then
        while await self._some():
            entries = self._queue.take(self._settings.batch_events)
            records = self._pack(entries)
            counters.QUEUED.set(len(self._queue))
            sent = 0
            try:
                for record in records:
                    await self._send(link, record)
                    sent += 1
            except BaseException as error:
                reason = "shutdown" if isinstance(error, asyncio.CancelledError) else "broken"
                self._drop(reason, sum(record.count for record in records[sent:]))
                raise

    async def _some(self) -> bool:
        """Wait until there is a batch to send; return False when there will be none."""
        wake = self._wake
        assert wake is not None  # noqa: S101  # set before this runs
        while not len(self._queue):
            if self._closing:
                return False
            wake.clear()
            self._idle = True
            if not len(self._queue) and not self._closing:
                await wake.wait()
            self._idle = False
        if len(self._queue) < self._settings.batch_events and not self._closing:
            wake.clear()
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(wake.wait(), timeout=self._settings.linger_s)
        return True

    def _pack(self, entries: Sequence[Entry]) -> list[Record]:
        messages = []
        for entry in entries:
            try:
                messages.append(encode(entry.make()))
            except Exception as error:  # noqa: BLE001  # one bad event must not cost its neighbours
                counters.contained("make_event", error)
                self._drop("invalid", 1)
        return pack(messages, self._settings.batch_events, self._settings.batch_bytes)

    async def _send(self, link: KafkaLink, record: Record) -> None:
        try:
            await link.send(record)
        except EventTooLargeError as error:
            counters.contained("send", error)
            self._drop("too_large", record.count)
            return
        self.emitted += record.count
        counters.EMITTED.labels(record.topic).inc(record.count)
        counters.BATCHES.labels(record.topic).inc()

    async def _report(self) -> None:
        """Say in the log what was dropped, at most twice a minute."""
        said: Counter[str] = Counter()
        while True:
            await asyncio.sleep(_REPORT_S)
            counters.QUEUED.set(len(self._queue))
            if news := self.dropped - said:
                said = Counter(self.dropped)
                _log.warning(
                    "messages were dropped",
                    waiting=len(self._queue),
                    **{f"dropped_{k}": v for k, v in news.items()},
                )
