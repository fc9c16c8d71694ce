"""A version that never answers, behind a gateway that finds another: told, and taken back."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from schemas.flag import FlagKey
from schemas.settings import GatewaySettings
from serving.flags.history import ChangeKind
from serving.flags.store import FlagStore
from serving.gateway.first_flags import first_flags
from serving.gateway.load import LoadedGateway, load_gateway
from serving.gateway.process import run_gateway
from serving.listening import listen
from tests.acceptance.running import Running, eventually, running_stack
from tests.support.gateway import CHAT, file_of
from tests.support.upstream import error, running_upstream

pytestmark = pytest.mark.acceptance


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[Running]:
    with running_stack(tmp_path / "stack") as running:
        yield running


def loaded_from(path: Path, file: dict[str, Any]) -> LoadedGateway:
    path.write_text(yaml.safe_dump(file))
    return load_gateway(path)


@asynccontextmanager
async def gateway(stack: Running, loaded: LoadedGateway) -> AsyncIterator[str]:
    """Run a gateway whose events go to the stack's broker; yield its URL."""
    settings = stack.stack.settings.model_copy(
        update={"gateway": GatewaySettings(flags_poll_s=0.05)}
    )
    FlagStore(settings.flags.path).create(first_flags(loaded.file, at_us=now_us()))
    stop, ready = asyncio.Event(), asyncio.get_running_loop().create_future()
    sock = listen("127.0.0.1", 0)
    serving = asyncio.create_task(
        run_gateway(settings, stop, ready=ready.set_result, loaded=loaded, sock=sock)
    )
    try:
        yield await ready
    finally:
        stop.set()
        await serving


def now_us() -> int:
    return time.time_ns() // 1_000


async def asked_all_the_time(url: str, statuses: set[int]) -> None:
    async with httpx.AsyncClient() as http:
        while True:
            answer = await http.post(f"{url}/chat/completions", json=CHAT)
            statuses.add(answer.status_code)
            await asyncio.sleep(0.1)


async def test_what_no_client_notices_is_rolled_back(stack: Running, tmp_path: Path) -> None:
    async with running_upstream() as good, running_upstream(error(500)) as bad:
        file = file_of(good, bad)
        for entry in file["upstreams"].values():
            entry["provider"] = "p"
        file["models"]["assistant"]["targets"][1]["versions"] = {"v2": "m"}
        async with gateway(stack, loaded_from(tmp_path / "gateway.yaml", file)) as url:
            statuses: set[int] = set()
            asking = asyncio.create_task(asked_all_the_time(url, statuses))
            flags = FlagStore(stack.stack.settings.flags.path)
            key = FlagKey.MODEL_VERSION
            flags.set_variant(key, "v2", by="alice", reason="new", at_us=now_us())
            await eventually(
                lambda: flags.read().flag(key).history[-1].kind is ChangeKind.ROLLBACK, 120
            )
            verdict = "SELECT count() FROM actions WHERE type = 'action_verdict' AND recovered"
            await eventually(lambda: stack.value(verdict), 90)
            asking.cancel()
            with suppress(asyncio.CancelledError):
                await asking
    assert flags.read().flag(key).variant == "v1"
    assert statuses == {200}
    assert stack.value("SELECT countIf(failed) FROM requests") == 0
    assert bad.calls
    rules = stack.rows("SELECT DISTINCT rule FROM actions WHERE type = 'action_requested'")
    assert rules == [("fallback-serves",)]
