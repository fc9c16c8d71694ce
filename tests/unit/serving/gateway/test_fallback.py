"""What one upstream cannot do, the next one does; and what cannot be mended is told honestly."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import openai
import pytest
from prometheus_client import REGISTRY

from schemas.event import Route
from schemas.flag import FlagKey
from tests.support.broker import free_port
from tests.support.gateway import CHAT, file_of, running_gateway
from tests.support.upstream import (
    DONE,
    Act,
    body,
    die,
    error,
    ok,
    piece,
    raw,
    running_upstream,
    stall,
    stream,
)
from tests.support.waiting import until

STREAM = {**CHAT, "stream": True}
QUICK: dict[str, Any] = {
    "first_token_timeout_s": 1.0,
    "answer_timeout_s": 1.0,
    "idle_timeout_s": 1.0,
    "connect_timeout_s": 1.0,
}
ENGINE_DEAD = (
    b'data: {"error":{"message":"EngineCore encountered an issue","type":"x","code":500}}\n\n'
)

TROUBLES: dict[str, tuple[Act, str]] = {
    "500": (error(500), "error"),
    "503 without words": (ok(b"", status=503, content_type="text/plain"), "error"),
    "429": (error(429, retry_after="7"), "rate_limited"),
    "cut before the head": (die(), "broken"),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n"), "bad_answer"),
    "silence": (stall(), "timeout"),
    "a page": (ok(b"<html>", content_type="text/html"), "bad_answer"),
    "a redirect": (ok(b"", status=302, location="http://127.0.0.1:1/"), "bad_answer"),
    "our key refused": (error(401), "refused_key"),
    "no such model there": (error(404, "NotFoundError"), "not_there"),
    "packed": (ok(b"\x1f\x8b", content_encoding="gzip"), "bad_answer"),
}
WHOLE = {
    "half a body": (
        raw(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 99\r\n\r\n{"),
        "broken",
    ),
    "no JSON": (ok(b"{nonsense"), "bad_answer"),
    "no object": (ok(b"[]"), "bad_answer"),
    "more than may be": (ok(b'{"a": "' + b"x" * 300_000 + b'"}'), "bad_answer"),
}
STREAMS = {
    "cut before the first piece": (stream(end=False), "broken"),
    "ended before the first piece": (stream(), "broken"),
    "begins with an error": (stream(ENGINE_DEAD, DONE), "error"),
    "no stream of events": (stream(b"\x00\x01\x02garbage"), "bad_answer"),
    "head and then silence": (stream(60.0), "timeout"),
}


def attempts(outcome: str) -> float:
    labels = {"upstream": "u0", "outcome": outcome}
    return REGISTRY.get_sample_value("tocsin_gateway_attempts_total", labels) or 0.0


CASES = [(case, False) for case in (*TROUBLES, *WHOLE)]
CASES += [(case, True) for case in (*TROUBLES, *STREAMS)]


@pytest.mark.parametrize(("case", "streaming"), CASES)
async def test_the_next_takes_over(tmp_path: Path, case: str, streaming: bool) -> None:
    act, outcome = (TROUBLES | WHOLE | STREAMS)[case]
    good = stream(piece("saved"), DONE) if streaming else ok(body("saved"))
    async with running_upstream(act) as bad, running_upstream(good) as second:
        file = file_of(bad, second)
        async with running_gateway(tmp_path, file, answer_bytes=200_000, **QUICK) as gateway:
            before = attempts(outcome)
            answer = await gateway.ask(STREAM if streaming else CHAT)
            event = await gateway.event()
            assert attempts(outcome) == before + 1
    assert answer.status_code == 200
    assert b"saved" in answer.content
    assert b"error" not in answer.content
    assert (event.route, event.provider, event.error_type) == (Route.FALLBACK, "p1", None)
    assert event.failed_attempts == (f"u0:{outcome}",)
    assert len(bad.calls) == len(second.calls) == 1


async def test_one_that_is_not_there(tmp_path: Path) -> None:
    async with running_upstream() as second:
        file = file_of(f"http://127.0.0.1:{free_port()}/v1", second)
        async with running_gateway(tmp_path, file, **QUICK) as gateway:
            assert (await gateway.ask()).is_success
            assert (await gateway.event()).provider == "p1"


async def test_a_request_at_fault_is_not_tried_again(tmp_path: Path) -> None:
    async with (
        running_upstream(error(400, "BadRequestError")) as up,
        running_upstream() as other,
        running_gateway(tmp_path, file_of(up, other)) as gateway,
    ):
        answer = await gateway.ask()
        event = await gateway.event()
    assert answer.status_code == 400
    assert answer.json()["error"]["type"] == "BadRequestError"
    assert (event.error_type, event.route) == ("bad_request", Route.STABLE)
    assert event.failed_attempts == ()
    assert other.calls == []


@pytest.mark.parametrize(
    ("act", "status", "kind"),
    [
        (error(500, "InternalServerError"), 500, "InternalServerError"),  # the upstream's own words
        (ok(b"oops", status=500, content_type="text/plain"), 502, "upstream_error"),
        (die(), 502, "upstream_died"),
        (stall(), 504, "upstream_timeout"),
        (ok(b"<html>", content_type="text/html"), 502, "upstream_garbage"),
        (error(401), 502, "upstream_refused_key"),
        (error(429, "rate_limit", retry_after="7"), 429, "rate_limit"),
    ],
)
async def test_when_nobody_can(tmp_path: Path, act: Act, status: int, kind: str) -> None:
    async with (
        running_upstream(act) as first,
        running_upstream(act) as second,
        running_gateway(tmp_path, file_of(first, second), **QUICK) as gateway,
    ):
        answer = await gateway.ask(STREAM)
        event = await gateway.event()
    assert (answer.status_code, answer.json()["error"]["type"]) == (status, kind)
    assert answer.headers.get("retry-after") == ("7" if status == 429 else None)
    assert event.status_code == status
    assert event.error_type
    assert [failed.partition(":")[0] for failed in event.failed_attempts] == ["u0", "u1"]
    assert len(first.calls) == len(second.calls) == 1


async def test_the_chain_switched_off(tmp_path: Path) -> None:
    async with (
        running_upstream(error(500)) as first,
        running_upstream() as second,
        running_gateway(tmp_path, file_of(first, second)) as gateway,
    ):
        await gateway.set(FlagKey.FALLBACK_ENABLED, False)
        assert (await gateway.ask()).status_code == 500
    assert second.calls == []


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (stream(piece("a"), b'data: {"choices": [{"in', end=False), "upstream_died"),
        (stream(piece("a"), 60.0), "upstream_stalled"),
        (stream(piece("a"), *[piece("y" * 5_000)] * 60), "upstream_garbage"),
        (stream(piece("a"), *[b"z" * 60_000] * 30), "upstream_garbage"),
    ],
    ids=["cut", "silent", "never ends", "an event that never ends"],
)
async def test_a_stream_that_breaks_says_so(tmp_path: Path, act: Act, kind: str) -> None:
    async with running_upstream(act) as first, running_upstream() as second:
        file = file_of(first, second)
        limit = 200_000 if "garbage" in kind else 10_000_000
        async with running_gateway(tmp_path, file, answer_bytes=limit, **QUICK) as gateway:
            client = openai.AsyncOpenAI(base_url=gateway.url, api_key="none", max_retries=0)
            got: list[str | None] = []

            async def read() -> None:
                async for part in await client.chat.completions.create(**CHAT, stream=True):
                    got.append(part.choices[0].delta.content)  # noqa: PERF401

            with pytest.raises(openai.APIError) as caught:
                await read()
            await client.close()
            event = await gateway.event()
    assert got[0] == "a"
    assert caught.value.type == kind
    assert (event.status_code, event.error_type, event.aborted) == (200, kind, False)
    assert event.failed
    assert second.calls == []


@pytest.mark.parametrize(
    ("path", "first"), [("/responses", b"event: x\n"), ("/messages", b": x\n")]
)
async def test_a_broken_stream_in_the_words_of_its_api(
    tmp_path: Path, path: str, first: bytes
) -> None:
    act = stream(first + b'data: {"type":"x"}\n\n', end=False)
    async with running_upstream(act) as up, running_gateway(tmp_path, file_of(up)) as gateway:
        answer = await gateway.ask({**STREAM, "input": "x"}, path)
        event = await gateway.event()
    assert b'event: error\ndata: {"type":"error"' in answer.content
    assert event.error_type == "upstream_died"


async def test_an_upstream_that_fails_again_and_again_is_left_alone(tmp_path: Path) -> None:
    breaker = {"consecutive_failures": 3, "ejection_s": 60}
    async with running_upstream(error(500)) as bad, running_upstream() as good:
        file = file_of(bad, good, breaker=breaker)
        async with running_gateway(tmp_path, file) as gateway:
            for _ in range(10):
                assert (await gateway.ask()).is_success
            await gateway.event(10)
    assert len(bad.calls) == 3


async def test_an_engine_that_dies_in_the_middle_is_held_against_its_server(
    tmp_path: Path,
) -> None:
    """vLLM ends such a stream properly, with an error in it."""
    dying = stream(piece("a"), ENGINE_DEAD, DONE)
    breaker = {"consecutive_failures": 2, "ejection_s": 60}
    async with (
        running_upstream(dying) as bad,
        running_upstream(stream(piece(), DONE)) as good,
        running_gateway(tmp_path, file_of(bad, good, breaker=breaker)) as gateway,
    ):
        answers = [await gateway.ask(STREAM) for _ in range(4)]
        await gateway.event(4)
        errors = [event.error_type for event in gateway.events]
    assert ENGINE_DEAD in answers[0].content
    assert errors == ["engine_dead", "engine_dead", None, None]
    assert (len(bad.calls), len(good.calls)) == (2, 2)


@pytest.mark.parametrize(
    ("last", "error_type", "outcome"),
    [(ENGINE_DEAD, "engine_dead", "error"), (DONE, None, "ok")],
    ids=["error", "end"],
)
async def test_who_hangs_up_on_the_end_of_a_stream_has_not_left_early(
    tmp_path: Path, last: bytes, error_type: str | None, outcome: str
) -> None:
    """OpenAI's client closes the connection on an error, before the transfer is over."""
    lingering = stream(piece("a"), last, 60.0)
    breaker = {"consecutive_failures": 1, "ejection_s": 60}
    labels = {"upstream": "u0", "outcome": outcome}
    before = REGISTRY.get_sample_value("tocsin_gateway_attempts_total", labels) or 0
    async with (
        running_upstream(lingering) as first,
        running_upstream(stream(piece(), DONE)) as second,
        running_gateway(tmp_path, file_of(first, second, breaker=breaker)) as gateway,
    ):
        asking = gateway.client.stream("POST", gateway.url + "/chat/completions", json=STREAM)
        async with asking as answer:
            async for chunk in answer.aiter_raw():
                if last in chunk:
                    break
        event = await gateway.event()
        assert (event.aborted, event.error_type) == (False, error_type)
        assert event.failed is (error_type is not None)
        await gateway.ask(STREAM) if error_type else None
        assert len(second.calls) == (1 if error_type else 0)
    assert REGISTRY.get_sample_value("tocsin_gateway_attempts_total", labels) == before + 1


async def test_one_that_hangs_is_noticed_though_its_clients_are_impatient(tmp_path: Path) -> None:
    breaker = {"consecutive_failures": 1, "ejection_s": 60}
    async with (
        running_upstream(stall()) as bad,
        running_upstream(stream(piece(), DONE)) as good,
        running_gateway(
            tmp_path, file_of(bad, good, breaker=breaker), first_token_timeout_s=0.8
        ) as gateway,
    ):
        with suppress(TimeoutError):
            await asyncio.wait_for(gateway.ask(STREAM), 0.6)
        await gateway.event()
        assert (await gateway.ask(STREAM)).is_success
        assert (await gateway.event(2)).provider == "p1"
    assert (len(bad.calls), len(good.calls)) in [(1, 1), (1, 2)]


async def test_it_comes_back_when_it_is_well_again(tmp_path: Path) -> None:
    breaker = {"consecutive_failures": 1, "ejection_s": 0.05, "max_ejection_s": 0.05}
    async with running_upstream(error(500)) as bad, running_upstream() as good:
        file = file_of(bad, good, breaker=breaker)
        async with running_gateway(tmp_path, file) as gateway:
            assert (await gateway.ask()).is_success
            bad.act = ok()

            async def back() -> bool:
                await gateway.ask()
                return gateway.events[-1].provider == "p0"

            await until(back)


async def test_with_all_of_them_ejected_one_is_asked_all_the_same(tmp_path: Path) -> None:
    breaker = {"consecutive_failures": 1, "ejection_s": 60, "max_ejected_share": 1}
    async with (
        running_upstream(error(500)) as up,
        running_gateway(tmp_path, file_of(up, breaker=breaker)) as gateway,
    ):
        assert (await gateway.ask()).status_code == 500
        up.act = ok()
        assert (await gateway.ask()).is_success
