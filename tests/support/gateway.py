"""A gateway on a real socket of this machine, inside the test's own process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import yaml

from schemas.event import RequestEvent
from schemas.flag import FlagKey
from schemas.settings import EmitSettings, GatewaySettings, Settings
from serving.emit.sink import MemorySink
from serving.flags.initial import initial_document
from serving.flags.store import FlagStore
from serving.gateway.app import Gateway
from serving.gateway.load import load_gateway
from serving.gateway.process import run_gateway
from serving.listening import listen
from tests.support.upstream import Upstream
from tests.support.waiting import until

__all__ = ["CHAT", "RunningGateway", "file_of", "running_gateway"]

_IN_FORCE = {
    FlagKey.MODEL_PROVIDER: "provider",
    FlagKey.MODEL_VERSION: "version",
    FlagKey.CANARY_VERSION: "canary_version",
    FlagKey.CANARY_PERCENT: "canary_percent",
    FlagKey.SHADOW_PERCENT: "shadow_percent",
    FlagKey.FEATURE_ENABLED: "enabled",
    FlagKey.GUARDRAILS_STRICT: "strict",
    FlagKey.FALLBACK_ENABLED: "fallback",
    FlagKey.RATE_LIMIT_PROFILE: "limits",
}

CHAT: dict[str, Any] = {"model": "assistant", "messages": [{"role": "user", "content": "hello"}]}


def file_of(*upstreams: Upstream | str, **more: Any) -> dict[str, Any]:
    """Return a file with a model `assistant` at all upstreams: providers p0, p1 ..., version v1."""
    urls = [u if isinstance(u, str) else u.url for u in upstreams]
    return {
        "version": 1,
        "upstreams": {
            f"u{n}": {"base_url": url, "provider": f"p{n}"} for n, url in enumerate(urls)
        },
        "models": {
            "assistant": {
                "targets": [
                    {"upstream": f"u{n}", "versions": {"v1": "m"}} for n in range(len(urls))
                ]
            }
        },
        "attempts": max(3, len(urls)),
        **more,
    }


@dataclass
class RunningGateway:
    """A gateway that runs: where it is, its flags, and the events that it has emitted."""

    url: str
    store: FlagStore
    sink: MemorySink
    client: httpx.AsyncClient = field(repr=False)
    gateway: Gateway = field(repr=False)

    @property
    def address(self) -> tuple[str, int]:
        found = httpx.URL(self.url)
        return found.host, int(found.port or 0)

    @property
    def events(self) -> list[RequestEvent]:
        return [m for m in self.sink.messages if isinstance(m, RequestEvent)]

    async def event(self, number: int = 1) -> RequestEvent:
        """Return the newest event once there are `number`, and see that there are no more."""

        async def look() -> bool:
            return len(self.events) >= number

        await until(look)
        assert len(self.events) == number
        return self.events[-1]

    async def ask(
        self,
        content: Mapping[str, Any] | bytes = CHAT,
        path: str = "/chat/completions",
        **named: str,
    ) -> httpx.Response:
        data = content if isinstance(content, bytes) else None
        headers = {k.replace("_", "-"): v for k, v in named.items()}
        body: Any = None if data is not None else content
        return await self.client.post(self.url + path, content=data, json=body, headers=headers)

    async def set(self, key: FlagKey, value: str | bool) -> None:
        """Set a flag and wait until the gateway obeys."""
        document = self.store.read()
        name = str(value)
        if key not in document.flags:
            add_flag(self.store, key, {name: value})
        elif name in document.flag(key).variants:
            self.store.set_variant(key, name, by="test", reason="", at_us=2)
        else:
            self.store.set_variant(key, name, by="test", reason="", at_us=2, value=value)
        await self.obeys(key)

    async def obeys(self, key: FlagKey) -> None:
        """Wait until the gateway has seen what the file says of a flag."""
        value = self.store.read().flag(key).value
        attribute = _IN_FORCE[key]
        wanted = float(value) if attribute.endswith("percent") else value

        async def look() -> bool:
            return bool(getattr(self.gateway.flags.now, attribute) == wanted)

        await until(look)


def add_flag(store: FlagStore, key: FlagKey, variants: Mapping[str, str | bool]) -> None:
    """Add a flag with its first variant in force."""
    from serving.flags.document import Flag

    flag = Flag(key=key, variants=dict(variants), variant=next(iter(variants)))
    store.update(lambda document: document.with_flag(flag))


@asynccontextmanager
async def running_gateway(
    folder: Path,
    file: Mapping[str, Any],
    *,
    providers: tuple[str, ...] = ("p0", "p1", "p2"),
    versions: tuple[str, ...] = ("v1", "v2"),
    emit: Mapping[str, Any] | None = None,
    environ: Mapping[str, str] | None = None,
    **settings: Any,
) -> AsyncIterator[RunningGateway]:
    """Run a gateway whose events stay in memory."""
    store = FlagStore(folder / "gateway-flags.json")
    store.create(initial_document(providers=list(providers), versions=list(versions), at_us=1))
    path = folder / "gateway.yaml"
    path.write_text(yaml.safe_dump(dict(file), sort_keys=False))
    sink = MemorySink()
    stop = asyncio.Event()
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    quick: dict[str, Any] = {"config": path, "port": 0, "flags_poll_s": 0.05}
    made = Settings(
        emit=EmitSettings(**(emit or {})),
        flags={"path": store.path},
        gateway=GatewaySettings(**(quick | settings)),
    )
    gateways: list[Gateway] = []
    task = asyncio.create_task(
        run_gateway(
            made,
            stop,
            ready=ready.set_result,
            sink=sink,
            loaded=load_gateway(path, environ or {}),
            sock=listen("127.0.0.1", 0),
            made=gateways.append,
        )
    )
    try:
        await asyncio.wait({ready, task}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            task.result()
        async with httpx.AsyncClient(timeout=20) as client:
            yield RunningGateway(await ready, store, sink, client, gateways[0])
    finally:
        stop.set()
        await task
