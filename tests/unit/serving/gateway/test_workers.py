"""Several workers of one gateway: what they share, and what becomes of one that dies."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from schemas.codec import decode_records
from schemas.event import RequestEvent
from schemas.topics import Topics
from serving.gateway.seat import Seat
from serving.gateway.workers import pause_s
from tests.support.broker import create_topics, free_port, read_all, running_broker
from tests.support.gateway import CHAT, file_of
from tests.support.gateway_process import GatewayProcess, children, gateway_process
from tests.support.upstream import running_upstream
from tests.support.waiting import until, until_true


async def ask(gateway: GatewayProcess, user: str, count: int = 1) -> list[int]:
    """Ask on new connections, all at once; return the statuses."""

    async def one() -> int:
        async with httpx.AsyncClient(timeout=30) as client:
            url = f"{gateway.url}/chat/completions"
            return (await client.post(url, json=CHAT, headers={"X-Tocsin-User": user})).status_code

    return await asyncio.gather(*[one() for _ in range(count)])


async def answered(gateway: GatewayProcess, worker: int) -> float | None:
    """Return how many answers a worker has had of its upstreams, or None while it is not there."""
    url = f"http://127.0.0.1:{gateway.metrics_port + worker}/metrics"
    try:
        async with httpx.AsyncClient(timeout=10) as client:
            text = (await client.get(url)).text
    except httpx.HTTPError:
        return None
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "tocsin_gateway_attempts_total"
    )


async def events(bootstrap: str) -> list[RequestEvent]:
    records = await read_all(bootstrap, Topics.REQUESTS.name)
    decoded = decode_records(
        [value for _, value in records],
        now_us=time.time_ns() // 1_000,
        future_us=60_000_000,
        max_bytes=4 * 1024 * 1024,
    )
    assert decoded.refused == []
    return decoded.events


@asynccontextmanager
async def serving(folder: Path, bootstrap: str, **more: Any) -> AsyncIterator[GatewayProcess]:
    async with running_upstream() as up:
        file = file_of(up, **more)
        settings = {"KAFKA__BOOTSTRAP": bootstrap, "EMIT__FLUSH_TIMEOUT_S": "20"}
        # Not on the loop, which has to answer for the upstream meanwhile.
        opened = gateway_process(folder, file, "--workers", "2", **settings)
        gateway = await asyncio.to_thread(opened.__enter__)
        try:
            yield gateway
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)


async def test_one_is_killed_and_the_others_go_on(tmp_path: Path) -> None:
    limits = {"normal": [{"by": "user", "requests_per_minute": 6}]}
    with running_broker() as broker:
        await create_topics(broker.bootstrap)
        async with serving(tmp_path, broker.bootstrap, limits=limits) as gateway:

            async def both() -> bool:
                return all([await answered(gateway, worker) is not None for worker in (0, 1)])

            await until(both, timeout_s=60)
            users = [f"u{number}" for number in range(40)]
            for user in users:
                assert await ask(gateway, user) == [200]
            shares = [await answered(gateway, worker) or 0 for worker in (0, 1)]
            assert min(shares) > 0
            assert sum(shares) == 40

            begun = time.monotonic()
            statuses = await ask(gateway, "alice", 30)
            allowed = 6 + math.ceil((time.monotonic() - begun) / 10)
            assert 6 <= statuses.count(200) <= allowed  # in total, whoever was asked
            assert statuses.count(200) + statuses.count(429) == 30

            async def reported() -> bool:
                return len(await events(broker.bootstrap)) == 70

            await until(reported, timeout_s=30)  # what it holds still, a killed one cannot send
            before = gateway.workers
            assert len(before) == 2
            os.kill(before[0], signal.SIGKILL)
            await asyncio.to_thread(until_true, lambda: before[0] not in gateway.workers)
            for user in users[:20]:
                assert await ask(gateway, f"again {user}") == [200]

            async def restarted() -> bool:
                return len(gateway.workers) == 2 and await both()

            await until(restarted, timeout_s=60)
            after = gateway.workers
            assert before[1] in after
            assert before[0] not in after
            refused = await ask(gateway, "alice", 5)
            assert refused.count(200) <= math.ceil((time.monotonic() - begun) / 10)
            for user in users[20:]:
                assert await ask(gateway, f"again {user}") == [200]
            assert await asyncio.to_thread(gateway.terminate) == 0
            assert children(gateway.process.pid) == []
        found = await events(broker.bootstrap)
    assert len(found) == len({event.event_id for event in found}) == 115
    assert "a worker has died" in gateway.log.read_text()


async def test_workers_end_with_the_process_that_keeps_them(tmp_path: Path) -> None:
    async with serving(tmp_path, f"127.0.0.1:{free_port()}") as gateway:
        workers = gateway.workers
        gateway.process.kill()
        gateway.process.wait(20)
        await asyncio.to_thread(until_true, lambda: not any(map(_runs, workers)), 60)


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    return state not in "ZX"


def test_a_worker_that_cannot_start_ends_all(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        metrics = str(taken.getsockname()[1] - 1)  # the second worker's is the next one
        named = {"GATEWAY__METRICS_PORT": metrics}
        file = file_of("http://127.0.0.1:1/v1")
        with (
            suppress(AssertionError),  # the first may have served before, or not
            gateway_process(tmp_path, file, "--workers", "2", **named) as gateway,
        ):
            gateway.process.wait(60)
    log = (tmp_path / "gateway.log").read_text()
    assert "worker 1 ended (exit code 2) before it could serve" in " ".join(log.split())
    assert "TOCSIN_GATEWAY__METRICS_PORT" in log


def test_an_address_that_another_one_has_is_not_shared(tmp_path: Path) -> None:
    file = file_of("http://127.0.0.1:1/v1")
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = {"GATEWAY__PORT": str(taken.getsockname()[1])}
        with (
            pytest.raises(AssertionError, match="cannot listen on"),
            gateway_process(tmp_path, file, "--workers", "2", **port),
        ):
            pass


def test_too_many_for_their_ports(tmp_path: Path) -> None:
    file = file_of("http://127.0.0.1:1/v1")
    port = {"GATEWAY__METRICS_PORT": "65535"}
    with (
        pytest.raises(AssertionError, match="65535 is the last one"),
        gateway_process(tmp_path, file, "--workers", "2", **port),
    ):
        pass


@pytest.mark.parametrize(
    ("deaths", "wait_s"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 4), (7, 30), (10_000, 30)]
)
def test_one_that_dies_again_and_again_waits_longer(deaths: int, wait_s: float) -> None:
    assert pause_s(deaths) == wait_s


def test_seats() -> None:
    seats = [Seat(index, 3, 8800, 5, 6) for index in range(3)]
    assert [Seat.parse(str(seat)) for seat in seats] == seats
    assert [seat.share(1_000) for seat in seats] == [334, 333, 333]
    assert [seat.share(2) for seat in seats] == [1, 1, 1]
    for wrong in ("", "1:2:3", "2:2:1:1:1", "a:b:c:d:e", "-1:2:1:1:1"):
        with pytest.raises(ValueError):
            Seat.parse(wrong)
