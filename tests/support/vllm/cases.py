"""Drive a real vLLM through every way that a request can end.

One `Case` is one request that must give exactly one event; the case's name travels as its feature,
so that the event can be found again. Recording (record.py) and the live test (tests/vllm) share
them.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import urlsplit

import httpx

__all__ = [
    "API_KEY",
    "CASES",
    "LORA",
    "MODEL",
    "Case",
    "Server",
    "drive_admission_limit",
    "drive_engine_death",
]

API_KEY = "local-test-key"
MODEL, LORA = "tiny", "tiny-lora"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
RESPONSES, MESSAGES, EMBEDDINGS = "/v1/responses", "/v1/messages", "/v1/embeddings"
_HELLO = [{"role": "user", "content": "hello"}]
_RING = {
    "type": "object",
    "properties": {
        "how": {"type": "string", "enum": ["softly", "loudly"]},
        "times": {"type": "integer", "enum": [1, 2, 3]},
    },
    "required": ["how", "times"],
    "additionalProperties": False,
}
_TOOL = {"name": "ring", "description": "Ring the bell.", "parameters": _RING, "strict": True}
_BLANKS = {"204": -100, "205": -100, "208": -100, "227": -100}
"""Against tab, line feed, return and space: where JSON allows them, a random model never ends."""
_NAMED = {"type": "function", "function": {"name": "ring"}}


@dataclass(frozen=True)
class Server:
    """A running vLLM and the process that computes for it."""

    url: str
    kill_engine: Callable[[], None] = lambda: None

    def headers(self, name: str, extra: dict[str, str] | None = None) -> dict[str, str]:
        """Return what marks the request of a case."""
        marks = {
            "X-Record-Case": name,
            "X-Tocsin-Feature": name,
            "Authorization": f"Bearer {API_KEY}",
        }
        return marks | (extra or {})

    async def post(self, name: str, path: str, body: Any, **extra: str) -> httpx.Response:
        """Send `body`, as JSON or as the bytes that it is, and read the whole answer."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = self.headers(name, {"Content-Type": "application/json"} | extra)
        async with httpx.AsyncClient(base_url=self.url, timeout=120) as client:
            return await client.post(path, content=content, headers=headers)

    async def read(self, name: str, path: str, body: Any, chunks: int) -> None:
        """Read `chunks` pieces of a stream and hang up."""
        async with (
            httpx.AsyncClient(base_url=self.url, timeout=120) as client,
            client.stream("POST", path, json=body, headers=self.headers(name)) as response,
        ):
            async for _ in response.aiter_raw():
                chunks -= 1
                if chunks <= 0:
                    return


def chat(max_tokens: int = 8, **extra: Any) -> dict[str, Any]:
    """Return a chat request of exactly `max_tokens` tokens."""
    return {
        "model": MODEL,
        "messages": _HELLO,
        "max_tokens": max_tokens,
        "ignore_eos": True,
    } | extra


def tools(choice: Any, **extra: Any) -> dict[str, Any]:
    """Return a chat request that leaves a model no choice but to call a tool."""
    return {
        "model": MODEL,
        "messages": _HELLO,
        "max_tokens": 200,
        "temperature": 0,
        "logit_bias": _BLANKS,
        "tools": [{"type": "function", "function": _TOOL}],
        "tool_choice": choice,
    } | extra


def completion(max_tokens: int = 8, **extra: Any) -> dict[str, Any]:
    """Return a completion request of exactly `max_tokens` tokens."""
    return {
        "model": MODEL,
        "prompt": "the bell",
        "max_tokens": max_tokens,
        "ignore_eos": True,
    } | extra


Drive = Callable[[Server, str], Awaitable[Any]]


def _post(path: str, body: Any, **headers: str) -> Drive:
    return lambda server, name: server.post(name, path, body, **headers)


async def _gone_before_the_answer(server: Server, name: str) -> None:
    with suppress(asyncio.TimeoutError):
        await asyncio.wait_for(server.post(name, CHAT, chat(1900)), 0.4)


async def _gone_while_sending(server: Server, name: str) -> None:
    where = urlsplit(server.url)
    _, writer = await asyncio.open_connection(where.hostname, where.port)
    lines = [f"POST {CHAT} HTTP/1.1", f"Host: {where.netloc}", "Content-Length: 1000"]
    lines += [f"{key}: {value}" for key, value in server.headers(name).items()]
    writer.write(
        ("\r\n".join([*lines, "Content-Type: application/json", "", ""]) + '{"model": ').encode()
    )
    await writer.drain()
    await asyncio.sleep(0.3)
    writer.close()


@asynccontextmanager
async def _streaming(
    server: Server, name: str, path: str, body: Any, chunks: int = 4
) -> AsyncIterator[None]:
    """Run the block once `chunks` pieces have come; then read the stream to its end."""
    begun = asyncio.Event()

    async def read() -> None:
        left = chunks
        try:
            async with (
                httpx.AsyncClient(base_url=server.url, timeout=120) as client,
                client.stream("POST", path, json=body, headers=server.headers(name)) as response,
            ):
                async for _ in response.aiter_raw():
                    left -= 1
                    if left <= 0:
                        begun.set()
        finally:
            begun.set()

    task = asyncio.ensure_future(read())
    await begun.wait()
    yield
    with suppress(httpx.HTTPError):  # a server whose engine has died may hang up
        await task


async def _server_abort(server: Server, name: str) -> None:
    """Have the server itself abort a stream through its development endpoint."""
    async with (
        httpx.AsyncClient(base_url=server.url, timeout=30) as client,
        _streaming(server, name, CHAT, chat(1900, stream=True)),
    ):
        await client.post("/pause", params={"mode": "abort"})
        await client.post("/resume")


@dataclass(frozen=True)
class Case:
    """One request and the server that it needs."""

    name: str
    drive: Drive
    server: Literal["generate", "embed"] = "generate"
    events: int = field(default=1)


CASES: tuple[Case, ...] = (
    Case("chat", _post(CHAT, chat(), **{"X-Tocsin-User": "u-1", "X-Tocsin-Plan": "pro"})),
    Case("chat_stop", _post(CHAT, chat(ignore_eos=False, logit_bias={"2": 100}))),
    Case(
        "chat_stream",
        _post(
            CHAT, chat(12, stream=True, user="u-2", metadata={"plan": "free", "feature": "ignored"})
        ),
    ),
    Case(
        "chat_stream_usage",
        _post(
            CHAT,
            chat(stream=True, stream_options={"include_usage": True}),
            **{"X-Request-Id": "mine-1"},
        ),
    ),
    Case("chat_n2", _post(CHAT, chat(n=2))),
    Case("chat_n2_stream", _post(CHAT, chat(n=2, stream=True))),
    Case("chat_lora", _post(CHAT, chat(model=LORA))),
    Case("chat_tool", _post(CHAT, tools(_NAMED))),
    Case("chat_tool_stream", _post(CHAT, tools(_NAMED, stream=True))),
    Case("chat_tools", _post(CHAT, tools("required"))),
    Case("chat_tools_stream", _post(CHAT, tools("required", stream=True))),
    Case("completion", _post(COMPLETIONS, completion())),
    Case("completion_stream", _post(COMPLETIONS, completion(stream=True))),
    Case("completion_two_prompts", _post(COMPLETIONS, completion(prompt=["one", "two"]))),
    Case("responses", _post(RESPONSES, {"model": MODEL, "input": "hello", "max_output_tokens": 8})),
    Case(
        "responses_stream",
        _post(
            RESPONSES, {"model": MODEL, "input": "hello", "max_output_tokens": 8, "stream": True}
        ),
    ),
    Case("responses_bad", _post(RESPONSES, {"model": "nobody", "input": "hello"})),
    Case("messages", _post(MESSAGES, {"model": MODEL, "messages": _HELLO, "max_tokens": 8})),
    Case(
        "messages_stream",
        _post(MESSAGES, {"model": MODEL, "messages": _HELLO, "max_tokens": 8, "stream": True}),
    ),
    Case("messages_bad", _post(MESSAGES, {"model": "nobody", "messages": _HELLO, "max_tokens": 8})),
    Case("unknown_model", _post(CHAT, chat(model="nobody"))),
    Case("unknown_model_stream", _post(CHAT, chat(model="nobody", stream=True))),
    Case("bad_json", _post(CHAT, b'{"model": "tiny", ')),
    Case("bad_parameter", _post(CHAT, chat(temperature=-1))),
    Case("prompt_too_long", _post(COMPLETIONS, completion(prompt="a " * 2100, stream=True))),
    Case("unauthorized", _post(CHAT, chat(), Authorization="Bearer wrong")),
    Case(
        "stream_client_gone",
        lambda server, name: server.read(name, CHAT, chat(1500, stream=True), 4),
    ),
    Case("client_gone", _gone_before_the_answer),
    Case("client_gone_while_sending", _gone_while_sending),
    Case("server_abort_stream", _server_abort),
    Case("health", lambda server, name: _get(server, name, "/health"), events=0),
    Case("models", lambda server, name: _get(server, name, "/v1/models"), events=0),
    Case("tokenize", _post("/tokenize", {"model": MODEL, "prompt": "hello"}), events=0),
    Case("embeddings", _post(EMBEDDINGS, {"model": MODEL, "input": ["a bell", "a page"]}), "embed"),
    Case("embeddings_bad", _post(EMBEDDINGS, {"model": "nobody", "input": "a bell"}), "embed"),
)


async def _get(server: Server, name: str, path: str) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=30) as client:
        await client.get(path, headers=server.headers(name))


async def drive_admission_limit(server: Server, limit: int) -> None:
    """Fill the server with `limit` streams, then have it reject `admission_limit`."""
    async with AsyncExitStack() as streams:
        for index in range(limit):
            name = f"admission_holder_{index}"
            await streams.enter_async_context(
                _streaming(server, name, CHAT, chat(1500, stream=True), chunks=1)
            )
        await server.post("admission_limit", CHAT, chat(stream=True))


async def drive_engine_death(server: Server) -> None:
    """Kill the engine under streams of three APIs and under a plain request."""
    asked = {"model": MODEL, "stream": True}
    streams = {
        "engine_dies_stream": (CHAT, chat(1900, stream=True)),
        "engine_dies_responses": (
            RESPONSES,
            asked | {"input": "hello", "max_output_tokens": 1900, "ignore_eos": True},
        ),
        "engine_dies_messages": (MESSAGES, asked | {"messages": _HELLO, "max_tokens": 1900}),
    }
    plain = asyncio.ensure_future(server.post("engine_dies", CHAT, chat(1900)))
    async with AsyncExitStack() as open_streams:
        for name, (path, body) in streams.items():
            await open_streams.enter_async_context(_streaming(server, name, path, body))
        server.kill_engine()
    await asyncio.gather(plain, return_exceptions=True)
