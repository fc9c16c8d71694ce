"""Play a recorded exchange to the middleware, at the recorded times."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, MutableMapping
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from schemas.engine import EngineSample
from schemas.event import RequestEvent
from schemas.settings import EmitSettings
from serving.emit.emission import Clock, Emission
from serving.emit.engine_stats import read_finished
from serving.emit.middleware import TocsinMiddleware
from serving.emit.sink import MemorySink

__all__ = ["RECORDINGS", "START_US", "Played", "load", "play"]

RECORDINGS = Path(__file__).resolve().parents[2] / "data" / "vllm"
START_US = 1_790_000_000_000_000
Line = dict[str, Any]
Split = Callable[[bytes], list[bytes]]


@dataclass
class Played:
    """What came of an exchange."""

    events: list[RequestEvent]
    sent: list[MutableMapping[str, Any]]
    seen_headers: list[tuple[bytes, bytes]]
    error: str | None = None


def load(case: str) -> list[Line]:
    """Return the lines of a recording."""
    text = (RECORDINGS / f"{case}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def _message(shown: Line) -> Line:
    message = dict(shown)
    if "body" in message:
        message["body"] = message["body"].encode("utf-8", "surrogateescape")
    if "headers" in message:
        message["headers"] = [(k.encode(), v.encode()) for k, v in message["headers"]]
    return message


def _pieces(message: Line, split: Split | None) -> list[Line]:
    if split is None or message["type"] != "http.response.body" or not message.get("body"):
        return [message]
    parts = split(message["body"])
    more = message.get("more_body", False)
    return [
        message | {"body": part, "more_body": more or i + 1 < len(parts)}
        for i, part in enumerate(parts)
    ]


@dataclass
class _Stage:
    """The recorded server: it reads and sends what the real one did, when the real one did."""

    lines: list[Line]
    emission: Emission
    split: Split | None = None
    now: float = 0.0
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)

    async def app(self, scope: Any, receive: Any, send: Any) -> None:
        self.headers = list(scope["headers"])
        for line in self.lines:
            self.now = line["t"]
            kind = line["kind"]
            if kind == "receive":
                await receive()
            elif kind == "send":
                for message in _pieces(_message(line["message"]), self.split):
                    await send(message)
            elif kind == "metadata":
                usage = line["final_usage_info"]
                scope["state"]["request_metadata"] = SimpleNamespace(
                    request_id=line["request_id"],
                    final_usage_info=usage and SimpleNamespace(**usage),
                )
            elif kind == "finished":
                self._finished(line)
            elif kind == "end" and line["error"]:
                raise RuntimeError(line["error"])

    def _finished(self, line: Line) -> None:
        stats = {key: value for key, value in line.items() if key not in ("t", "kind")}
        stats["finish_reason"] = SimpleNamespace(name=stats["finish_reason"])
        step = SimpleNamespace(finished_requests=[SimpleNamespace(**stats)])
        for record in read_finished(step, self.now):
            self.emission.join.add(record)

    async def reading(self) -> AsyncIterator[Line]:
        for line in self.lines:
            if line["kind"] == "receive":
                yield _message(line["message"])


async def play(
    lines: list[Line],
    *,
    settings: EmitSettings | None = None,
    engine: bool = True,
    split: Split | None = None,
    state: dict[str, Any] | None = None,
    adapters: dict[str, str] | None = None,
) -> Played:
    """Play a recording; return the events and what the client got.

    Args:
        lines: the recording.
        settings: of the emitter.
        engine: whether the stat logger is installed.
        split: cuts each body into chunks.
        state: what stands in the scope's state already.
        adapters: LoRA adapters of the server, and their base model.
    """
    sink = MemorySink()
    settings = settings or EmitSettings(server="test", join_wait_s=0)
    clock = Clock(monotonic=lambda: stage.now, wall_ns=lambda: START_US * 1_000)
    emission = Emission(settings, sink, clock=clock)
    emission.join.active = engine
    kept = [line for line in lines if engine or line["kind"] != "finished"]
    stage = _Stage(kept, emission, split)
    first = lines[0]
    models = SimpleNamespace(
        lora_requests=adapters or {},
        base_model_paths=[SimpleNamespace(name=name) for name in (adapters or {}).values()],
    )
    scope: dict[str, Any] = {
        "type": "http",
        "method": first["method"],
        "path": first["path"],
        "headers": [(k.encode(), v.encode()) for k, v in first["headers"]],
        "state": state if state is not None else {},
        "app": SimpleNamespace(state=SimpleNamespace(openai_serving_models=models)),
    }
    reading = stage.reading()
    sent: list[MutableMapping[str, Any]] = []

    async def receive() -> Line:
        return await anext(reading)

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(dict(message))

    error = None
    try:
        await TocsinMiddleware(stage.app, emission)(scope, receive, send)
    except RuntimeError as problem:
        error = str(problem)
    events = [message for message in sink.messages if isinstance(message, RequestEvent)]
    assert not [message for message in sink.messages if isinstance(message, EngineSample)]
    return Played(events, sent, stage.headers, error)
