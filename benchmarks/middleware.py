"""What the middleware costs a request and a chunk: with and without it, in the same run.

    python benchmarks/middleware.py [--repeat 7]

The application is an ASGI function that answers at once with bodies recorded from a real vLLM, so
the differences are the middleware's own time and the ratios its worst case; a real model takes
milliseconds a token. Times are CPU times of the whole process, the emitter's thread included, so
that other work on the machine does not count; rounds alternate and the best of each is compared.
The emitter's broker is one that is not there, which costs requests nothing either.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping
from pathlib import Path
from typing import Any

from schemas.settings import EmitSettings, KafkaSettings
from serving.emit.batches import encode
from serving.emit.emission import Emission
from serving.emit.emitter import KafkaEmitter
from serving.emit.middleware import TocsinMiddleware
from serving.emit.sink import EventSink

RECORDINGS = Path(__file__).resolve().parents[1] / "tests" / "data" / "vllm"
Message = MutableMapping[str, Any]
App = Callable[[Any, Any, Any], Awaitable[None]]


class Make:
    """A sink that makes and encodes each event at once, as the emitter's thread does."""

    def emit(self, message: Any) -> None:
        encode(message)

    def emit_later(self, make: Any, size: int) -> None:  # noqa: ARG002
        encode(make())

    def start(self) -> None:
        pass

    def close(self, timeout_s: float) -> None:
        pass


class Discard:
    """A sink that takes events and makes nothing of them."""

    def emit(self, message: Any) -> None:
        pass

    def emit_later(self, make: Any, size: int) -> None:
        pass

    def start(self) -> None:
        pass

    def close(self, timeout_s: float) -> None:
        pass


def recorded(case: str) -> tuple[bytes, list[Message]]:
    """Return the request's body and the messages of the answer."""
    lines = [json.loads(line) for line in (RECORDINGS / f"{case}.jsonl").read_text().splitlines()]
    body = next(line["message"]["body"] for line in lines if line["kind"] == "receive").encode()
    messages = []
    for line in lines:
        if line["kind"] == "send":
            message = dict(line["message"])
            if "body" in message:
                message["body"] = message["body"].encode()
            if "headers" in message:
                message["headers"] = [(k.encode(), v.encode()) for k, v in message["headers"]]
            messages.append(message)
    return body, messages


def application(case: str, chunks: int) -> tuple[App, bytes]:
    """Return an application that answers `case`, its middle chunk repeated to `chunks`."""
    body, messages = recorded(case)
    if chunks:
        head, middle, tail = messages[:2], messages[4], messages[-3:]
        messages = [*head, *[middle] * chunks, *tail]

    async def app(_scope: Any, receive: Any, send: Any) -> None:
        await receive()
        for message in messages:
            await send(dict(message))

    return app, body


async def seconds(app: App, body: bytes, path: str, rounds: int) -> float:
    """Return the seconds that one request takes."""
    headers = [(b"content-type", b"application/json"), (b"user-agent", b"x"), (b"accept", b"*/*")]

    async def receive() -> Message:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: Message) -> None:
        pass

    started = time.process_time()
    for _ in range(rounds):
        scope = {"type": "http", "method": "POST", "path": path, "headers": list(headers)}
        await app(scope | {"state": {}}, receive, send)
    return (time.process_time() - started) / rounds


async def compare(name: str, sink: EventSink, chunks: int, rounds: int, repeat: int) -> float:
    """Print and return what the middleware adds to one request, in seconds."""
    case = "chat_stream" if chunks else "chat"
    bare, body = application(case, chunks)
    watched = TocsinMiddleware(bare, Emission(EmitSettings(join_wait_s=0), sink))
    path = "/v1/chat/completions"
    without, with_it = [], []
    for _ in range(repeat):
        without.append(await seconds(bare, body, path, rounds))
        with_it.append(await seconds(watched, body, path, rounds))
        await asyncio.sleep(0.05)
    a, b = min(without) * 1e6, min(with_it) * 1e6
    print(f"{name:44} {a:9.1f} us {b:9.1f} us   +{b - a:7.1f} us   x{b / a:6.1f}")
    return (b - a) / 1e6


async def main(repeat: int) -> None:
    print(f"{'':44} {'without':>12} {'with':>12} {'adds':>13} {'ratio':>8}")
    kafka = KafkaEmitter(EmitSettings(queue_events=10_000), KafkaSettings(bootstrap="127.0.0.1:1"))
    sinks: dict[str, EventSink] = {
        "no sink": Discard(),
        "event made and encoded": Make(),
        "emitter, broker down": kafka,
    }
    for name, sink in sinks.items():
        await compare(f"one answer ({name})", sink, 0, 2_000, repeat)
        short = await compare(f"stream of 64 chunks ({name})", sink, 64, 300, repeat)
        long = await compare(f"stream of 1,064 chunks ({name})", sink, 1_064, 30, repeat)
        chunk = (long - short) / 1_000
        print(f"{f'  a chunk ({name})':44} {chunk * 1e6:39.2f} us")
        token = 0.010
        print(f"{'  of a token that takes 10 ms':44} {chunk / token:38.3%}")
    kafka.close(0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeat", type=int, default=7)
    asyncio.run(main(parser.parse_args().repeat))
