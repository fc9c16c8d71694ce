"""A simulated fleet on real sockets of this machine, inside the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.event import RequestEvent
from schemas.settings import EmitSettings, Settings
from serving.emit.sink import MemorySink
from serving.flags.initial import initial_document
from serving.flags.store import FlagStore
from serving.fleet.process import FleetConfig, run_fleet
from serving.fleet.profile import FleetProfile
from tests.support.waiting import until

__all__ = ["QUICK", "Running", "fleet_of", "running_fleet"]

QUICK: dict[str, Any] = {"step_s": 0.001, "chunk_s": 0.004, "prefill_tokens_per_s": 1_000_000}
"""A speed at which a test does not wait."""


def fleet_of(**providers: Any) -> FleetProfile:
    """Return a profile of quick providers."""
    quick = {name: {"speed": QUICK, **rest} for name, rest in providers.items()}
    return FleetProfile.model_validate({"providers": quick})


@dataclass
class Running:
    """A fleet that runs: where it is, its flags, and the events that it has emitted."""

    urls: dict[str, str]
    store: FlagStore
    sink: MemorySink

    @property
    def events(self) -> list[RequestEvent]:
        """Return the request events so far."""
        return [m for m in self.sink.messages if isinstance(m, RequestEvent)]

    async def event(self, request_id: str) -> RequestEvent:
        """Return the one event of a request, when it has come."""

        async def look() -> list[RequestEvent]:
            return [event for event in self.events if event.request_id == request_id]

        [event] = await until(look)
        return event


@asynccontextmanager
async def running_fleet(
    folder: Path,
    profile: FleetProfile,
    *,
    versions: tuple[str, ...] = ("v1", "v2"),
    judge: bool = False,
    admin_token: str = "",
    emit: Mapping[str, Any] | None = None,
) -> AsyncIterator[Running]:
    """Run a fleet whose events stay in memory."""
    store = FlagStore(folder / "flags.json")
    store.create(
        initial_document(providers=list(profile.providers), versions=list(versions), at_us=1)
    )
    sink = MemorySink()
    stop = asyncio.Event()
    ready: asyncio.Future[dict[str, str]] = asyncio.get_running_loop().create_future()
    config = FleetConfig(
        profile=profile,
        flags=store.path,
        judge_port=0 if judge else None,
        admin_token=admin_token,
    )
    settings = Settings(emit=EmitSettings(**({"capture_text": True} | dict(emit or {}))))
    task = asyncio.create_task(run_fleet(config, settings, stop, ready=ready.set_result, sink=sink))
    try:
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        yield Running(await ready, store, sink)
    finally:
        stop.set()
        await task
