"""Clients that send what is wrong, too much, or too slowly."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path

import orjson
import pytest
from prometheus_client import REGISTRY

from tests.support.gateway import CHAT, RunningGateway, file_of, running_gateway
from tests.support.upstream import piece, running_upstream, stall, stream

HEAD = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


def stalled(where: str) -> float:
    return REGISTRY.get_sample_value("tocsin_gateway_stalled_clients_total", {"where": where}) or 0


@pytest.mark.parametrize(
    ("content", "status", "said"),
    [
        (b"", 400, "not valid JSON"),
        (b"{nonsense", 400, "not valid JSON"),
        (b"\xff\xfe", 400, "not valid JSON"),
        (b"[1]", 400, "must be a JSON object"),
        (b"{}", 400, "model"),
        (b'{"model": 7}', 400, "model"),
        (b'{"model": ""}', 400, "model"),
        (b'{"model": "a\\u0000b"}', 400, "no name"),
        (orjson.dumps({"model": "x" * 300}), 400, "no name"),
        (orjson.dumps({**CHAT, "stream": "yes"}), 400, "stream must be"),
        (orjson.dumps({**CHAT, "model": "gpt-9"}), 404, "does not exist"),
        (b"[" * 100_000, 400, "not valid JSON"),
        (orjson.dumps({**CHAT, "x": "y" * 60_000}), 413, "larger than"),
    ],
)
async def test_a_body_that_is_wrong(tmp_path: Path, content: bytes, status: int, said: str) -> None:
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up), body_bytes=110_000) as gateway,
    ):
        if status == 413:
            content += b" " * 100_000
        answer = await gateway.ask(content)
        event = await gateway.event()
    assert answer.status_code == status == event.status_code
    assert said in answer.json()["error"]["message"]
    assert event.error_type
    assert event.rejected
    assert up.calls == []


@pytest.mark.parametrize(
    "content",
    [
        {**CHAT, "messages": "no list"},
        {**CHAT, "messages": [1, None, {"content": [{"type": "text"}]}]},
        {**CHAT, "max_tokens": "many", "tools": 7, "stream_options": []},
        {"model": "assistant"},
    ],
)
async def test_what_only_the_upstream_can_judge_is_passed_on(
    tmp_path: Path, content: dict[str, object]
) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        assert (await gateway.ask(content)).is_success
    assert up.calls[0].json == {**content, "model": "m"}


async def raw(gateway: RunningGateway, *parts: bytes | float) -> bytes:
    """Send parts with pauses, and return all that comes until the connection ends."""
    reader, writer = await asyncio.open_connection(*gateway.address)
    try:
        for part in parts:
            if isinstance(part, bytes):
                writer.write(part)
                await writer.drain()
            else:
                await asyncio.sleep(part)
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize(
    "parts",
    [(), (b"POST /v1/ch",), (HEAD, b"X-A: b\r\n", 0.1, b"X-B: c\r\n")],
    ids=["nothing", "a line", "lines"],
)
async def test_a_head_that_does_not_end_is_cut_off(
    tmp_path: Path, parts: tuple[bytes | float, ...]
) -> None:
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up), header_timeout_s=0.3) as gateway,
    ):
        before = stalled("head")
        assert await raw(gateway, *parts) == b""
        assert stalled("head") == before + 1
        assert gateway.events == []  # there was no request yet


async def test_a_second_head_that_does_not_end_is_cut_off(tmp_path: Path) -> None:
    first = HEAD + b"Content-Length: 2\r\n\r\n{}"
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up), header_timeout_s=0.3) as gateway,
    ):
        answer = await raw(gateway, first, 0.2, b"POST /v1/ch")
        await gateway.event()
    assert answer.startswith(b"HTTP/1.1 400")


async def test_a_connection_may_rest_between_requests(tmp_path: Path) -> None:
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up), header_timeout_s=0.5) as gateway,
    ):
        data = orjson.dumps(CHAT)
        request = HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data
        closing = request.replace(b"Host: x", b"Host: x\r\nConnection: close")
        answer = await raw(gateway, request, 0.8, closing)
    assert answer.count(b"HTTP/1.1 200") == 2


async def test_a_body_that_does_not_end(tmp_path: Path) -> None:
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up), body_timeout_s=0.3) as gateway,
    ):
        answer = await raw(gateway, HEAD, b"Content-Length: 99\r\n\r\n", b'{"mo', 0.1, b"d")
        event = await gateway.event()
    assert answer.startswith(b"HTTP/1.1 408")
    assert b"request_timeout" in answer
    assert (event.status_code, event.error_type) == (408, "request_timeout")


async def test_a_client_that_leaves_in_the_middle_of_its_body(tmp_path: Path) -> None:
    async with running_upstream() as up, running_gateway(tmp_path, file_of(up)) as gateway:
        _, writer = await asyncio.open_connection(*gateway.address)
        writer.write(HEAD + b'Content-Length: 99\r\n\r\n{"mo')
        await writer.drain()
        await asyncio.sleep(0.1)
        writer.close()
        event = await gateway.event()
    assert event.aborted
    assert up.calls == []


async def test_a_body_without_end_is_not_kept(tmp_path: Path) -> None:
    async with (
        running_upstream() as up,
        running_gateway(tmp_path, file_of(up), body_bytes=100_000) as gateway,
    ):
        chunk = b"10000\r\n" + b"x" * 65_536 + b"\r\n"
        answer = await raw(gateway, HEAD, b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 4)
        event = await gateway.event()
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413")
    assert event.status_code == 413


async def test_a_client_that_takes_nothing_is_let_go(tmp_path: Path) -> None:
    flood = stream(*[piece("z" * 60_000)] * 2_000)
    async with running_upstream(flood) as up:
        file = file_of(up)
        async with running_gateway(tmp_path, file, send_timeout_s=0.3) as gateway:
            before = stalled("answer")
            data = orjson.dumps({**CHAT, "stream": True})
            reader, writer = await asyncio.open_connection(*gateway.address)
            writer.write(HEAD + b"Content-Length: %d\r\n\r\n" % len(data) + data)
            event = await gateway.event()
            assert stalled("answer") == before + 1
            assert event.aborted
            with suppress(ConnectionError):
                while await asyncio.wait_for(reader.read(1_000_000), 10):
                    pass  # what was under way; then the connection is cut
            writer.close()


async def test_too_long_in_all(tmp_path: Path) -> None:
    async with (
        running_upstream(stall()) as up,
        running_gateway(tmp_path, file_of(up), total_timeout_s=0.3) as gateway,
    ):
        answer = await gateway.ask()
        first = await gateway.event()
        up.act = stream(*[piece(), 0.05] * 100)
        streamed = await gateway.ask({**CHAT, "stream": True})
        second = await gateway.event(2)
    assert (answer.status_code, answer.json()["error"]["type"]) == (504, "total_timeout")
    assert first.error_type == "total_timeout"
    assert b"total_timeout" in streamed.content
    assert (second.status_code, second.error_type) == (200, "total_timeout")


async def test_more_at_once_than_may_be(tmp_path: Path) -> None:
    async with (
        running_upstream(stall()) as up,
        running_gateway(tmp_path, file_of(up), concurrency=2) as gateway,
    ):
        waiting = [asyncio.ensure_future(gateway.ask()) for _ in range(2)]
        while len(up.calls) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        answer = await gateway.ask()
        event = await gateway.event()
        for task in waiting:
            task.cancel()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert (event.status_code, event.error_type) == (503, "overloaded")
