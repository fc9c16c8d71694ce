"""The middleware in hard times: whatever breaks, the request does not notice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
from prometheus_client import REGISTRY

import serving.emit.middleware as module
from schemas.base import Message
from schemas.event import RequestEvent
from schemas.settings import EmitSettings
from serving.emit import emission as emission_module
from serving.emit.declared import declare
from serving.emit.emission import Emission, shared_emission
from serving.emit.join import EngineRecord
from serving.emit.middleware import TocsinMiddleware
from serving.emit.request_id import is_our_request_id
from serving.emit.sink import MemorySink

BODY = b'{"model": "tiny", "messages": [{"role": "user", "content": "hi"}]}'
ANSWER = b'{"model": "tiny", "choices": [{"index": 0, "finish_reason": "stop"}], "usage": {}}'


def scope(**fields: Any) -> dict[str, Any]:
    values = {"type": "http", "method": "POST", "path": "/v1/chat/completions"}
    return values | {"headers": [], "state": {}} | fields


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await receive()
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": ANSWER})


async def call(app: Any, asked: dict[str, Any] | None = None, **hooks: Any) -> list[Any]:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await app(asked or scope(), hooks.get("receive", receive), hooks.get("send", send))
    return sent


def emission(**settings: Any) -> tuple[Emission, MemorySink]:
    sink = MemorySink()
    return Emission(EmitSettings(**({"server": "s"} | settings)), sink), sink


def events(sink: MemorySink) -> list[RequestEvent]:
    return [message for message in sink.messages if isinstance(message, RequestEvent)]


def failures(step: str) -> float:
    name = "tocsin_emit_contained_failures_total"
    return REGISTRY.get_sample_value(name, {"step": step}) or 0.0


@pytest.mark.parametrize(
    ("target", "step", "lost"),
    [
        ("serving.emit.middleware.parse_headers", "begin", True),
        ("serving.emit.exchange.Exchange.received", "receive", False),
        ("serving.emit.exchange.Exchange.sending", "sending", False),
        ("serving.emit.exchange.Exchange.sent", "sent", False),
        ("serving.emit.exchange.Exchange.over", "enrich", False),
        ("serving.emit.emission.take_usage", "enrich", False),
        ("serving.emit.join.JoinTable.take", "finish", True),
    ],
)
async def test_each_step_is_contained(
    monkeypatch: pytest.MonkeyPatch, target: str, step: str, lost: bool
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ZeroDivisionError(step)

    monkeypatch.setattr(target, broken)
    before = failures(step)
    made, sink = emission()
    state = {"request_metadata": SimpleNamespace(request_id="chatcmpl-a")}
    sent = await call(TocsinMiddleware(answer, made), scope(state=state))
    assert [message.get("body") for message in sent] == [None, ANSWER]
    assert failures(step) > before
    assert len(events(sink)) == (0 if lost else 1)


async def test_what_users_wrote_is_not_logged(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: Any, **__: Any) -> Any:
        raise ValueError(BODY.decode())

    monkeypatch.setattr("serving.emit.counters._seen", set())
    monkeypatch.setattr("serving.emit.exchange.parse_body", broken)
    made, sink = emission()
    await call(TocsinMiddleware(answer, made))
    written = "".join(capsys.readouterr())
    assert "ValueError" in written
    assert "exchange.py" in written
    assert "messages" not in written
    assert len(events(sink)) == 1


async def test_a_sink_that_raises_is_contained() -> None:
    made, sink = emission()
    sink.emit_later = _raise  # type: ignore[method-assign]
    assert len(await call(TocsinMiddleware(answer, made))) == 2


def _raise(*_: Any) -> None:
    raise RuntimeError("full")


async def test_what_the_application_raises_goes_through() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        raise KeyError("x")

    made, sink = emission()
    with pytest.raises(KeyError):
        await call(TocsinMiddleware(broken, made))
    [event] = events(sink)
    assert (event.status_code, event.error_type, event.failed) == (500, "key_error", True)


async def test_a_cancelled_request() -> None:
    async def slow(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await asyncio.sleep(60)

    made, sink = emission()
    task = asyncio.ensure_future(call(TocsinMiddleware(slow, made)))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    [event] = events(sink)
    assert (event.status_code, event.error_type, event.model) == (503, "cancelled", "tiny")


async def test_a_client_that_takes_no_more() -> None:
    """Servers that speak ASGI 2.4 raise in `send` when the client has gone."""

    async def gone(message: Any) -> None:
        raise OSError("gone")

    made, sink = emission()
    with pytest.raises(OSError, match="gone"):
        await call(TocsinMiddleware(answer, made), send=gone)
    [event] = events(sink)
    assert event.aborted


@pytest.mark.parametrize("told", [True, False])
async def test_a_client_that_leaves_at_an_error_was_not_the_fault(told: bool) -> None:
    """Clients raise at an error in a stream, and are gone before the stream has ended."""
    error = b'data: {"error": {"message": "x", "type": "engine_dead", "code": 500}}\n\n'
    piece = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
    left = iter([{"type": "http.request", "body": BODY}, {"type": "http.disconnect"}])

    async def receive() -> Any:
        return next(left)

    async def app(_: Any, receive: Any, send: Any) -> None:
        await receive()
        kind = [(b"content-type", b"text/event-stream")]
        await send({"type": "http.response.start", "status": 200, "headers": kind})
        body = error if told else piece
        await send({"type": "http.response.body", "body": body, "more_body": True})
        await receive()

    made, sink = emission()
    await call(TocsinMiddleware(app, made), receive=receive)
    [event] = events(sink)
    assert (event.aborted, event.error_type) == (not told, "engine_dead" if told else None)
    assert event.failed == told


async def test_an_application_that_answers_nothing() -> None:
    async def silent(scope: Any, receive: Any, send: Any) -> None:
        await receive()

    made, sink = emission()
    await call(TocsinMiddleware(silent, made))
    [event] = events(sink)
    assert (event.status_code, event.error_type) == (500, "no_response")


async def test_an_answer_that_breaks_off() -> None:
    async def broken(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"{", "more_body": True})

    made, sink = emission()
    await call(TocsinMiddleware(broken, made))
    [event] = events(sink)
    assert event.error_type == "incomplete_response"


async def test_twice_in_the_stack_reports_once() -> None:
    made, sink = emission()
    await call(TocsinMiddleware(TocsinMiddleware(answer, made), made))
    assert len(events(sink)) == 1


async def test_what_the_application_declares() -> None:
    async def declaring(scope: Any, receive: Any, send: Any) -> None:
        declare(scope, model_version="v7", provider="other")
        await answer(scope, receive, send)

    made, sink = emission(model_version="v1")
    await call(TocsinMiddleware(declaring, made))
    await call(TocsinMiddleware(answer, made))
    assert [(e.model_version, e.provider) for e in events(sink)] == [
        ("v7", "other"),
        ("v1", "vllm"),
    ]


async def test_a_body_in_pieces_and_one_that_is_too_long() -> None:
    async def reading(scope: Any, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": ANSWER})

    def pieces(body: bytes, size: int) -> Callable[[], Any]:
        parts = [body[i : i + size] for i in range(0, len(body), size)]

        async def receive() -> Any:
            part = parts.pop(0)
            return {"type": "http.request", "body": part, "more_body": bool(parts)}

        return receive

    made, sink = emission()
    long = BODY[:-1] + b', "x": "' + b"x" * 2_000_000 + b'", "user": "u"}'
    named = BODY[:-1] + b', "user": "u"}'
    await call(TocsinMiddleware(reading, made), receive=pieces(named, 7))
    await call(TocsinMiddleware(reading, made), receive=pieces(long, 65_536))
    short, too_long = events(sink)
    assert (short.model, short.user_id) == ("tiny", "u")
    assert (too_long.model, too_long.user_id) == ("tiny", None)  # the answer names the model


async def test_the_server_gets_what_shows_that_its_request_is_reported() -> None:
    seen: list[dict[bytes, bytes]] = []

    async def look(asked: Any, receive: Any, send: Any) -> None:
        seen.append(dict(asked["headers"]))
        await answer(asked, receive, send)

    made, sink = emission()
    parent = b"b7ad6b7169203331"
    traced = [(b"traceparent", b"00-0af7651916cd43dd8448eb211c80319c-" + parent + b"-01")]
    await call(TocsinMiddleware(look, made), scope(headers=traced))
    await call(TocsinMiddleware(look, made), scope(headers=[(b"x-request-id", b"mine")]))
    first, second = events(sink)
    assert seen[0][b"tracestate"] == b"tocsin=" + parent
    assert is_our_request_id(first.request_id)
    assert seen[0][b"x-request-id"].decode() == first.request_id
    assert (second.request_id, seen[1]) == ("mine", {b"x-request-id": b"mine"})


async def test_a_long_answer_is_read_at_its_end() -> None:
    async def long(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        for _ in range(40):
            await send({"type": "http.response.body", "body": b"x" * 50_000, "more_body": True})
        tail = b'"usage":{"prompt_tokens":5,"completion_tokens":7}}'
        await send({"type": "http.response.body", "body": tail})

    made, sink = emission()
    await call(TocsinMiddleware(long, made))
    [event] = events(sink)
    assert (event.input_tokens, event.output_tokens, event.error_type) == (5, 7, None)


async def test_odd_figures_cost_no_event() -> None:
    usage = SimpleNamespace(
        prompt_tokens=5,
        completion_tokens=10**12,  # more than an event takes
        prompt_tokens_details=SimpleNamespace(cached_tokens=9),
    )
    state = {"request_metadata": SimpleNamespace(request_id="chatcmpl-a", final_usage_info=usage)}
    made, sink = emission()
    await call(TocsinMiddleware(answer, made), scope(state=state))
    [event] = events(sink)
    assert (event.input_tokens, event.output_tokens, event.cached_input_tokens) == (5, None, None)


class TestJoin:
    STATE: ClassVar = {"request_metadata": SimpleNamespace(request_id="chatcmpl-a")}

    def record(self, made: Emission) -> EngineRecord:
        return EngineRecord("chatcmpl-a", made.clock.monotonic(), queue_s=0.5)

    async def test_a_record_that_comes_late_is_waited_for(self) -> None:
        made, sink = emission(join_wait_s=60)
        made.join.active = True
        await call(TocsinMiddleware(answer, made), scope(state=dict(self.STATE)))
        assert events(sink) == []
        made.join.add(self.record(made))
        [event] = events(sink)
        assert event.queue_s == 0.5
        made.close()
        assert len(events(sink)) == 1

    async def test_a_record_that_never_comes_is_not_waited_for_long(self) -> None:
        made, sink = emission(join_wait_s=0.02)
        made.join.active = True
        await call(TocsinMiddleware(answer, made), scope(state=dict(self.STATE)))
        assert events(sink) == []
        while not events(sink):  # noqa: ASYNC110
            await asyncio.sleep(0.005)
        made.join.add(self.record(made))
        [event] = events(sink)
        assert event.queue_s is None

    async def test_a_server_that_ends_reports_what_waits(self) -> None:
        made, sink = emission(join_wait_s=60)
        made.join.active = True
        await call(TocsinMiddleware(answer, made), scope(state=dict(self.STATE)))
        made.close()
        assert len(events(sink)) == 1
        assert sink.closed

    async def test_without_a_stat_logger_nothing_is_waited_for(self) -> None:
        made, sink = emission(join_wait_s=60)
        await call(TocsinMiddleware(answer, made), scope(state=dict(self.STATE)))
        assert len(events(sink)) == 1


class TestLifespan:
    async def run(self, made: Emission, *kinds: str) -> list[str]:
        sent: list[str] = []

        async def app(scope: Any, receive: Any, send: Any) -> None:
            for kind in kinds:
                await send({"type": f"lifespan.{kind}"})

        async def send(message: Message | Any) -> None:
            sent.append(message["type"])

        await TocsinMiddleware(app, made)({"type": "lifespan"}, _raise, send)  # type: ignore[arg-type]
        return sent

    async def test_connects_and_flushes(self) -> None:
        made, sink = emission()
        assert await self.run(made, "startup.complete") == ["lifespan.startup.complete"]
        assert not sink.closed
        await self.run(made, "shutdown.complete")
        assert sink.closed

    async def test_is_contained(self) -> None:
        made, sink = emission()
        sink.start = _raise  # type: ignore[method-assign]
        sink.close = _raise  # type: ignore[method-assign]
        kinds = ("startup.complete", "shutdown.complete")
        assert len(await self.run(made, *kinds)) == 2


class TestSettings:
    @pytest.fixture(autouse=True)
    def fresh(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(emission_module, "_shared", None)

    async def test_wrong_settings_switch_it_off_and_say_so(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("TOCSIN_EMIT__LINGER_S", "soon")
        middleware = TocsinMiddleware(answer)
        assert len(await call(middleware)) == 2
        assert REGISTRY.get_sample_value("tocsin_emit_enabled") == 0
        assert "TOCSIN_EMIT__LINGER_S" in capsys.readouterr().out

    def test_one_for_the_process(self) -> None:
        assert shared_emission() is shared_emission()
        assert REGISTRY.get_sample_value("tocsin_emit_enabled") == 1

    async def test_a_start_that_fails_is_contained(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "shared_emission", _raise)
        assert len(await call(TocsinMiddleware(answer))) == 2
