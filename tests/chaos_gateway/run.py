"""Four upstreams of two providers, a gateway before them, and trouble."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from prometheus_client import REGISTRY

from tests.chaos_gateway.client import Seen, send
from tests.chaos_gateway.verdict import Verdict, judge
from tests.support.broker import free_port
from tests.support.gateway import RunningGateway, file_of, running_gateway
from tests.support.waiting import until

__all__ = ["run"]

ROOT = Path(__file__).resolve().parents[2]
SHARE = 0.5
SHARES = {"noise": (0.03, 0.002, 0.003), "calm": (0.01, 0.0, 0.0)}
"""Errors, stalls and deaths: of all upstreams at first, and of those that live on."""


@dataclass
class Server:
    """One upstream: its port, and its process while it lives."""

    port: int
    seed: int
    process: asyncio.subprocess.Process | None = None

    async def start(self, shares: tuple[float, float, float]) -> None:
        args = [str(x) for x in (self.port, self.seed, *shares)]
        module = "tests.chaos_gateway.upstream"
        self.process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", module, *args, stdout=asyncio.subprocess.PIPE, cwd=ROOT
        )
        assert self.process.stdout is not None
        await asyncio.wait_for(self.process.stdout.readline(), 20)

    async def kill(self) -> None:
        if self.process is not None and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()
        self.process = None


async def run(requests: int, *, seed: int, workers: int = 32, error_rate: float = 0.005) -> Verdict:
    """Send a quarter with noise, half with one provider dead, a quarter after it is back."""
    random = Random(seed)
    servers = [Server(free_port(), seed + n) for n in range(4)]
    file = file_of(
        *(f"http://127.0.0.1:{server.port}/v1" for server in servers),
        attempts=4,
        breaker={"consecutive_failures": 3, "ejection_s": 0.5, "max_ejected_share": SHARE},
    )
    for number, entry in enumerate(file["upstreams"].values()):
        entry["provider"] = f"p{number // 2}"
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            for server in servers:
                stack.push_async_callback(server.kill)
                await server.start(SHARES["noise"])
            gateway = await stack.enter_async_context(
                running_gateway(
                    Path(folder),
                    file,
                    first_token_timeout_s=1.0,
                    answer_timeout_s=1.0,
                    idle_timeout_s=1.0,
                    connect_timeout_s=0.5,
                )
            )
            watch = await stack.enter_async_context(_watching(list(file["upstreams"])))
            return await _ordeal(gateway, servers, watch, requests, workers, random, error_rate)


async def _ordeal(
    gateway: RunningGateway,
    servers: list[Server],
    watch: Mapping[str, int],
    requests: int,
    workers: int,
    random: Random,
    error_rate: float,
) -> Verdict:
    address = gateway.address
    seen = await send(address, "noise", requests // 4, workers, random)
    # Kill the preferred provider's servers in the middle of their streams.
    killing = asyncio.create_task(send(address, "kill", requests // 20, workers, random))
    await asyncio.sleep(0.05)
    await asyncio.gather(*(server.kill() for server in servers[:2]))
    for server in servers[2:]:  # those that live on begin anew as well, one after the other
        await server.kill()
        await server.start(SHARES["calm"])
    seen += await killing
    dead: list[Seen] = await send(address, "dead", requests // 2, workers, random)
    seen += dead
    await asyncio.gather(*(server.start(SHARES["noise"]) for server in servers[:2]))
    seen += await send(address, "back", requests - len(seen), workers, random)

    async def all_reported() -> bool:
        return len(gateway.events) >= len(seen)

    back = await _is_back(gateway, address, random, seen)
    await until(all_reported)
    await asyncio.sleep(0.2)  # anything twice would come now
    return judge(
        seen,
        dead,
        gateway.events,
        most_ejected=watch["most"],
        cap=int(len(servers) * SHARE),
        back=back,
        error_rate=error_rate,
    )


async def _is_back(
    gateway: RunningGateway, address: tuple[str, int], random: Random, seen: list[Seen]
) -> bool:
    """Tell whether the preferred provider answers again, after a few ejection times at most."""
    for round_ in range(40):
        seen += await send(address, f"after-{round_}", 10, 2, random)
        if any(e.provider == "p0" and not e.error_type for e in gateway.events[-10:]):
            return True
        await asyncio.sleep(0.25)
    return False


@asynccontextmanager
async def _watching(names: list[str]) -> AsyncIterator[dict[str, int]]:
    """Note how many upstreams are out of rotation at once."""
    found: dict[str, Any] = {"most": 0}

    async def look() -> None:
        while True:
            ejected = sum(
                REGISTRY.get_sample_value("tocsin_gateway_ejected", {"upstream": name}) or 0
                for name in names
            )
            found["most"] = max(found["most"], int(ejected))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(look())
    try:
        yield found
    finally:
        task.cancel()
