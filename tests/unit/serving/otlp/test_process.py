"""The receiver as a process: where it may listen, and how it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import httpx
import pytest
from typer.testing import CliRunner

from schemas.clock import Clock
from schemas.settings import OtlpSettings, Settings
from serving.errors import OtlpAddressError
from serving.otlp.process import check_exposure, run_otlp
from tests.support.events import NOW_US
from tests.unit.serving.otlp.world import Taking, export, span
from tocsin.cli.main import app


@asynccontextmanager
async def running(taking: Taking, clock: Clock = lambda: NOW_US, **otlp: Any) -> AsyncIterator[str]:
    settings = Settings.model_validate({"otlp": {"port": 0} | otlp})
    stop = asyncio.Event()
    url: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    task = asyncio.create_task(
        run_otlp(settings, stop, ready=url.set_result, handover=taking, clock=clock)
    )
    try:
        yield await asyncio.wait_for(url, 10)
    finally:
        stop.set()
        await task


async def test_it_serves_until_it_is_told_to_stop() -> None:
    taking = Taking()
    async with running(taking) as url, httpx.AsyncClient() as client:
        response = await client.post(
            url,
            content=export([span()]).SerializeToString(),
            headers={"Content-Type": "application/x-protobuf"},
        )
    assert response.status_code == 200
    assert len(taking.events) == 1
    assert taking.closed


async def test_a_body_beyond_the_limit_ends_its_connection() -> None:
    taking = Taking()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(1_000)

    async with running(taking, body_bytes=1_000) as url, httpx.AsyncClient() as client:
        headers = {"Content-Type": "application/x-protobuf"}
        response = await client.post(url, content=body(), headers=headers)
        assert (response.status_code, response.headers["connection"]) == (413, "close")


async def test_a_head_that_does_not_come_ends_its_connection() -> None:
    async with running(Taking(), header_timeout_s=0.1) as url:
        address = httpx.URL(url)
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(b"POST /v1/traces HTTP/1.1\r\nHost:")
        await writer.drain()
        with suppress(ConnectionError):  # reset, or just closed
            assert await asyncio.wait_for(reader.read(), 10) == b""
        writer.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "otlp.internal"])
def test_others_get_in_only_with_a_token(host: str) -> None:
    with pytest.raises(OtlpAddressError, match="TOCSIN_OTLP__TOKEN"):
        check_exposure(OtlpSettings(host=host))
    check_exposure(OtlpSettings.model_validate({"host": host, "token": "t"}))


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost", "127.1.2.3"])
def test_this_machine_gets_in_without(host: str) -> None:
    check_exposure(OtlpSettings(host=host))


def test_the_command_says_which_setting_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_OTLP__HOST", "0.0.0.0")
    result = CliRunner().invoke(app, ["otlp"])
    assert result.exit_code == 2
    assert "TOCSIN_OTLP__TOKEN" in result.output


def test_an_address_that_is_taken_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        monkeypatch.setenv("TOCSIN_OTLP__PORT", str(taken.getsockname()[1]))
        monkeypatch.setenv("TOCSIN_OTLP__METRICS_PORT", "0")
        result = CliRunner().invoke(app, ["otlp"])
    assert result.exit_code == 2
    assert "TOCSIN_OTLP__PORT" in result.output
    assert "collector" in result.output
