"""A trace of arrivals as new requests, to a real endpoint or to a simulated fleet of our own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from schemas.clock import Clock
from schemas.settings import Settings
from serving.flags.initial import initial_document
from serving.flags.reader import FlagReader
from serving.flags.store import FlagStore
from serving.fleet.load import LoadCounts, LoadDriver
from serving.fleet.process import FleetConfig, run_fleet
from serving.fleet.profile import Fault, FleetProfile, ProviderProfile
from serving.fleet.users import Arrival, Visits

__all__ = ["send_requests"]

_PROVIDER: Final = "simulated"
_VERSION: Final = "v1"


async def send_requests(
    arrivals: Sequence[Arrival],
    settings: Settings,
    clock: Clock,
    *,
    speed: float,
    model: str,
    target: str = "",
) -> AsyncIterator[LoadCounts]:
    """Send each arrival at its time, ``speed`` times as fast; yield the counts as they grow.

    Without ``target`` a simulated fleet answers, whose middleware sends the events to Kafka.
    """
    with TemporaryDirectory(prefix="tocsin-replay-") as scratch:
        path = Path(scratch) / "flags.json"
        FlagStore(path).create(
            initial_document(providers=[_PROVIDER], versions=[_VERSION], at_us=clock())
        )
        async with _endpoint(target, path, settings, model) as url:
            with FlagReader(path) as flags:
                visits = Visits(f"replay-{clock()}", model=model)
                driver = LoadDriver(arrivals, {_PROVIDER: url}, flags, visits, speed=speed)
                async for counts in driver.run(every_s=0.5):
                    yield counts


@asynccontextmanager
async def _endpoint(target: str, flags: Path, settings: Settings, model: str) -> AsyncIterator[str]:
    if target:
        yield target.rstrip("/")
        return
    profile = FleetProfile(
        model=model, providers={_PROVIDER: ProviderProfile(versions={_VERSION: Fault()})}
    )
    stop = asyncio.Event()
    urls: dict[str, str] = {}
    up = asyncio.Event()

    def ready(found: dict[str, str]) -> None:
        urls.update(found)
        up.set()

    config = FleetConfig(profile=profile, flags=flags)
    fleet = asyncio.create_task(run_fleet(config, settings, stop, ready=ready))
    try:
        waiting = asyncio.create_task(up.wait())
        await asyncio.wait({fleet, waiting}, return_when=asyncio.FIRST_COMPLETED)
        if fleet.done():
            waiting.cancel()
            fleet.result()  # raises what ended it
        yield urls[_PROVIDER]
    finally:
        stop.set()
        await fleet
