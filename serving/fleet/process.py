"""Run a simulated fleet: one server a provider, and the stand-in judge, in one process."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

import uvicorn

from schemas.settings import Settings
from serving.emit.emission import Emission
from serving.emit.emitter import KafkaEmitter
from serving.emit.engine_stats import SampleMaker
from serving.emit.middleware import ASGIApp
from serving.emit.sink import EventSink
from serving.errors import FleetError
from serving.flags.reader import FlagReader
from serving.fleet.app import make_app
from serving.fleet.faults import Faults
from serving.fleet.judge import make_judge
from serving.fleet.profile import FleetProfile
from serving.fleet.server import SimServer
from serving.hosting import Host, serve_until
from serving.listening import listen

__all__ = ["JUDGE", "FleetConfig", "run_fleet"]

JUDGE = "judge"
"""The name under which the judge's address stands beside the providers'."""

_SAMPLE_S = 1.0


@dataclass(frozen=True)
class FleetConfig:
    """What to start.

    Attributes:
        profile: the providers.
        flags: the flag file that is obeyed.
        host: where to listen.
        ports: by provider; 0, as for one that is not named, takes a free port.
        judge_port: None starts no judge, 0 takes a free port.
        admin_token: opens the admin endpoints.
    """

    profile: FleetProfile
    flags: Path
    host: str = "127.0.0.1"
    ports: Mapping[str, int] = field(default_factory=dict)
    judge_port: int | None = None
    admin_token: str = ""


async def run_fleet(
    config: FleetConfig,
    settings: Settings,
    stop: asyncio.Event,
    *,
    ready: Callable[[dict[str, str]], None] | None = None,
    sink: EventSink | None = None,
) -> None:
    """Serve until `stop` is set, then finish what runs and send what is left.

    Args:
        config: what to start.
        settings: of the emitter and the broker.
        stop: ends it.
        ready: told the base URL of each provider (and the judge) once they can be reached.
        sink: takes the events instead of Kafka.

    Raises:
        FleetError: a port is taken, or is for a provider that does not exist.
    """
    if strange := set(config.ports) - set(config.profile.providers):
        raise FleetError(f"no such provider: {', '.join(sorted(strange))}")
    names = [*config.profile.providers, *([JUDGE] if config.judge_port is not None else [])]
    ports = {**config.ports, **({JUDGE: config.judge_port} if config.judge_port else {})}
    sockets = _listen(config.host, {name: ports.get(name, 0) for name in names})
    urls = {name: _url(config.host, sock) for name, sock in sockets.items()}
    sink = sink or KafkaEmitter(settings.emit, settings.kafka)
    faults = Faults(config.profile)
    emissions: list[Emission] = []
    with FlagReader(config.flags) as flags:
        servers: list[tuple[Host, socket.socket]] = []
        samplers: list[asyncio.Task[None]] = []
        for name, sock in sockets.items():
            if name == JUDGE and config.judge_port is not None:
                servers.append((_uvicorn(make_judge()), sock))
                continue
            address = urls[name].removeprefix("http://").removesuffix("/v1")
            origin = {"provider": name, "server": settings.emit.server or address}
            emission = Emission(settings.emit.model_copy(update=origin), sink)
            emissions.append(emission)
            server = SimServer(name, config.profile, faults, flags, emission)
            app = make_app(server, faults, emission=emission, admin_token=config.admin_token)
            servers.append((_uvicorn(app), sock))
            samplers.append(asyncio.create_task(_sample(server, emission)))
        sink.start()
        try:
            await serve_until(stop, servers, lambda: ready(urls) if ready else None)
        finally:
            for sampler in samplers:
                sampler.cancel()
            for emission in emissions:
                await asyncio.to_thread(emission.close)


async def _sample(server: SimServer, emission: Emission) -> None:
    """Tell once a second how full the engine is, as the stat logger of vLLM does."""
    engine = server.engine
    maker = SampleMaker(
        emission.origin.server,
        server.model,
        0,
        monotonic=emission.clock.monotonic,
        wall_ns=emission.clock.wall_ns,
        interval_s=_SAMPLE_S / 2,
    )
    while True:
        queries, hits = engine.take_cache_counts()
        sample = maker.record(
            SimpleNamespace(
                num_running_reqs=engine.running,
                num_waiting_reqs=engine.waiting,
                kv_cache_usage=min(1.0, engine.running / engine.slots),
                prefix_cache_stats=SimpleNamespace(queries=queries, hits=hits),
            )
        )
        if sample is not None:
            emission.sink.emit(sample)
        await asyncio.sleep(_SAMPLE_S)


def _listen(host: str, ports: Mapping[str, int]) -> dict[str, socket.socket]:
    sockets: dict[str, socket.socket] = {}
    try:
        for name, port in ports.items():
            sockets[name] = listen(host, port)
    except OSError as error:
        for sock in sockets.values():
            sock.close()
        raise FleetError(f"{name}: cannot listen on {host}:{port}: {error.strerror}") from error
    return sockets


def _url(host: str, sock: socket.socket) -> str:
    return f"http://{host}:{sock.getsockname()[1]}/v1"


def _uvicorn(app: ASGIApp | object) -> Host:
    return Host(
        uvicorn.Config(
            app,  # type: ignore[arg-type]  # our ASGI types are wider than uvicorn's
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            server_header=False,
            date_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=5,
        )
    )
