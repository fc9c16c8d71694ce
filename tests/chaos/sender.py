"""Send events to a broker for some seconds, and write down what was sent: a process of its own.

SIGUSR1 ends it early: it waits until what it has sent is acknowledged, and writes.

Each record is sent again until the broker acknowledges it, as an emitter does. A second producer
sends some records, or some of their events, once more.

    python -m tests.chaos.sender --bootstrap 127.0.0.1:9092 --events 20000 --seconds 30 --out s.npy
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError
from numpy.typing import NDArray

from schemas.topics import Topics
from tests.chaos.ledger import EVENT
from tests.chaos.traffic import Traffic, values

__all__ = ["Sender", "Sending", "main", "progress_of"]

_TICK_S: Final = 0.05
_AGAIN_S: Final = 0.2
_OUTSTANDING: Final = 4_000
_TOPIC: Final = Topics.REQUESTS.name


@dataclass(frozen=True, slots=True)
class Sending:
    """What to send."""

    bootstrap: str
    events: int
    seconds: float
    seed: int
    first: int = 0
    partitions: int = 4
    duplicates: float = 0.01
    scattered: bool = False
    reordered: float = 0.03
    batch: int = 60


@dataclass
class Sender:
    """Sends at an even pace and keeps what it sent."""

    sending: Sending
    out: Path
    sent: int = 0
    acknowledged: int = 0
    repeated: int = 0
    _chunks: list[NDArray[np.void]] = field(default_factory=list)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _told_at: float = 0.0

    async def run(self) -> NDArray[np.void]:
        """Send all of it and return it, with the places that the broker gave."""
        sending = self.sending
        traffic = Traffic(sending.seed, sending.first, sending.reordered)
        self._choose = random.Random(f"{sending.seed} {sending.first}")
        self._room = asyncio.Semaphore(_OUTSTANDING)
        enough = asyncio.Event()
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, enough.set)
        async with _producer(sending.bootstrap) as first, _producer(sending.bootstrap) as second:
            self._first, self._second = first, second
            started, since_us = time.monotonic(), time.time_ns() // 1_000
            while self.sent < sending.events and not enough.is_set():
                await asyncio.sleep(_TICK_S)
                share = min(1.0, (time.monotonic() - started) / sending.seconds)
                count = int(sending.events * share) - self.sent
                if count <= 0:
                    continue
                now_us = time.time_ns() // 1_000
                chunk = traffic.make(count, since_us, now_us)
                since_us = now_us
                self._chunks.append(chunk)
                await self._send(chunk)
                self._tell()
            while self._tasks:
                await asyncio.wait(self._tasks, timeout=0.5)
                self._tell()
        self._tell(at_once=True)
        return np.concatenate(self._chunks) if self._chunks else np.empty(0, EVENT)

    async def _send(self, chunk: NDArray[np.void]) -> None:
        wire = values(chunk)
        at = 0
        while at < len(chunk):
            # About as many records with one event as with several.
            single = self._choose.random() < 0.5
            size = 1 if single else self._choose.randint(2, self.sending.batch)
            size = min(size, len(chunk) - at)
            await self._room.acquire()
            record = (chunk[at : at + size], wire[at : at + size])
            self._start(self._deliver(*record, self._choose.randrange(self.sending.partitions)))
            at += size
            self.sent += size

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _deliver(self, events: NDArray[np.void], wire: Sequence[bytes], to: int) -> None:
        again = self._choose.random() < self.sending.duplicates
        value = _value(wire)
        try:
            events["partition"], events["offset"] = await _until_sent(self._first, value, to)
            events["index"] = np.arange(len(events))
        finally:
            self._room.release()
        self.acknowledged += len(events)
        if again:
            self._start(self._repeat(wire, to))

    async def _repeat(self, wire: Sequence[bytes], to: int) -> None:
        """Send a record, or some events of it, once more, a moment later."""
        choose = self._choose
        await asyncio.sleep(choose.random() * 2)
        if self.sending.scattered:
            to = choose.randrange(self.sending.partitions)
        kept = wire if choose.random() < 0.5 else choose.sample(wire, choose.randint(1, len(wire)))
        await _until_sent(self._second, _value(kept), to)
        self.repeated += len(kept)

    def _tell(self, *, at_once: bool = False) -> None:
        if at_once or time.monotonic() - self._told_at > 0.2:
            self._told_at = time.monotonic()
            draft = self.out.with_suffix(".draft")
            draft.write_text(f"{self.sent} {self.acknowledged} {self.repeated}")
            draft.replace(_progress_file(self.out))


async def _until_sent(producer: AIOKafkaProducer, value: bytes, to: int) -> tuple[int, int]:
    while True:
        try:
            place = await producer.send_and_wait(_TOPIC, value, partition=to)
        except (KafkaError, OSError):  # it may have it all the same: the id tells
            await asyncio.sleep(_AGAIN_S)
        else:
            return place.partition, place.offset


def _producer(bootstrap: str) -> AIOKafkaProducer:
    return AIOKafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, request_timeout_ms=15_000)


def _value(wire: Sequence[bytes]) -> bytes:
    return wire[0] if len(wire) == 1 else b"[" + b",".join(wire) + b"]"


def _progress_file(out: Path) -> Path:
    return out.with_suffix(".progress")


def progress_of(out: Path) -> tuple[int, int, int]:
    """Return how many events were sent, acknowledged, and sent twice so far."""
    try:
        sent, acknowledged, repeated = _progress_file(out).read_text().split()
    except (FileNotFoundError, ValueError):
        return 0, 0, 0
    return int(sent), int(acknowledged), int(repeated)


def main() -> None:
    """Read the command line, send, write the ledger."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.sender", description=__doc__)
    parser.add_argument("--bootstrap", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--events", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--duplicates", type=float, default=0.01)
    parser.add_argument("--scattered", action="store_true")
    parser.add_argument("--reordered", type=float, default=0.03)
    parser.add_argument("--batch", type=int, default=60)
    chosen = vars(parser.parse_args())
    out: Path = chosen.pop("out")
    sender = Sender(Sending(**chosen), out)
    sent = asyncio.run(sender.run())
    draft = out.with_suffix(".part.npy")
    np.save(draft, sent)
    draft.replace(out)


if __name__ == "__main__":
    main()
