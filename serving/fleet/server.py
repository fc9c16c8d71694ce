"""One simulated model server: OpenAI's completions over ASGI, answered by a `SimEngine`.

Written as plain ASGI, because what the middleware sees here must be what it sees in vLLM: the same
messages, the same state in the scope, an engine record just before the last byte.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field
from random import Random
from types import SimpleNamespace
from typing import Any, Final
from zlib import crc32

from schemas.event import Operation
from schemas.flag import FlagKey
from serving.emit.declared import declare
from serving.emit.emission import Emission
from serving.emit.engine_stats import read_finished
from serving.emit.middleware import Receive, Scope, Send
from serving.flags.reader import FlagReader
from serving.fleet.asked import BadRequestError, SimRequest, read_request
from serving.fleet.engine import Overloaded, Progress, SimEngine
from serving.fleet.faults import Fate, Faults, fate_of
from serving.fleet.profile import FleetProfile
from serving.fleet.text import degenerate, prose
from serving.fleet.wire import DONE, Frame, error_body, sse, usage_of

__all__ = ["SimServer"]

_JSON: Final = (b"content-type", b"application/json")
_ENGINE_DEAD: Final = "EngineCore encountered an issue. See stack trace (above) for the root cause."
_BODY_LIMIT: Final = 16 * 1024 * 1024
_NATURAL_TOKENS: Final = 60


@dataclass(slots=True)
class _Answer:
    """One answer in the making."""

    asked: SimRequest
    fate: Fate
    frame: Frame
    progress: Progress
    words: list[str]
    finish: str
    state: SimpleNamespace = field(default_factory=SimpleNamespace)


class SimServer:
    """The server of one provider.

    Args:
        provider: its name in the profile.
        profile: the fleet's profile.
        faults: what is wrong at the moment.
        flags: tells which version is to answer.
        emission: takes the engine's records; None reports nothing.
        now: monotonic seconds.
        wall: seconds since 1970.
    """

    def __init__(
        self,
        provider: str,
        profile: FleetProfile,
        faults: Faults,
        flags: FlagReader,
        emission: Emission | None = None,
        *,
        now: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.provider = provider
        self.model = profile.model
        self._seed = profile.seed
        self._profile = profile.providers[provider]
        self._faults = faults
        self._flags = flags
        self._emission = emission
        self._wall = wall
        self.engine = SimEngine(self._profile.speed, now=now)
        self.default_version = next(iter(self._profile.versions))
        if emission is not None:
            emission.join.active = True

    @property
    def version(self) -> str:
        """Return the version that answers now: the flag's, if this provider has it."""
        wanted = self._flags.text(FlagKey.MODEL_VERSION, self.default_version)
        return wanted if wanted in self._profile.versions else self.default_version

    async def chat(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer POST /v1/chat/completions."""
        await self._serve(Operation.CHAT, scope, receive, send)

    async def completions(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer POST /v1/completions."""
        await self._serve(Operation.TEXT_COMPLETION, scope, receive, send)

    async def _serve(
        self, operation: Operation, scope: Scope, receive: Receive, send: Send
    ) -> None:
        version = self.version
        declare(scope, model_version=version, provider=self.provider, route=self._profile.route)
        body = await _body(receive)
        if body is None:
            return
        try:
            asked = read_request(
                operation,
                scope["headers"],
                body,
                model=self.model,
                max_model_len=self._profile.speed.max_model_len,
            )
        except BadRequestError as error:
            await _refuse(send, error.status, error.kind, error.message, error.param)
            return
        random = Random(crc32(asked.request_id.encode()) ^ self._seed)  # noqa: S311
        fate = fate_of(self._faults.of(self.provider, version), random, stream=asked.stream)
        if fate.outage:
            await _refuse(send, 503, "ServiceUnavailableError", "The provider is down.")
            return
        answer = self._begin(asked, fate, random)
        scope["state"]["request_metadata"] = answer.state
        await _until_gone(self._answer(answer, send), receive)

    async def _answer(self, answer: _Answer, send: Send) -> None:
        try:
            await (self._stream if answer.asked.stream else self._whole)(answer, send)
        except Overloaded:  # before anything was sent
            await _refuse(send, 503, "ServiceUnavailableError", "The queue is full.")

    def _begin(self, asked: SimRequest, fate: Fate, random: Random) -> _Answer:
        natural = asked.wanted_tokens or 1 + round(random.gammavariate(2, _NATURAL_TOKENS / 2))
        natural = max(1, round(natural * fate.output_factor))
        if asked.ignore_eos and asked.max_tokens:
            natural = asked.max_tokens
        tokens = min(natural, asked.max_tokens or natural)
        chat = asked.operation is Operation.CHAT
        answer_id = f"{'chatcmpl' if chat else 'cmpl'}-{asked.request_id}"
        progress = self.engine.arrive(
            input_tokens=asked.input_tokens,
            output_tokens=tokens,
            latency_factor=fate.latency_factor,
            random=random,
        )
        return _Answer(
            asked=asked,
            fate=fate,
            frame=Frame(asked.operation, answer_id, int(self._wall()), self.model),
            progress=progress,
            words=(degenerate if fate.degenerate else prose)(random, tokens),
            finish="length" if asked.max_tokens == tokens else "stop",
            state=SimpleNamespace(request_id=answer_id, final_usage_info=None),
        )

    async def _whole(self, answer: _Answer, send: Send) -> None:
        async with aclosing(self.engine.run(answer.progress)) as tokens:
            async for _ in tokens:
                if answer.fate.fails:
                    await _refuse(send, 500, "InternalServerError", _ENGINE_DEAD)
                    return
        usage = self._finished(answer)
        await _reply(send, 200, answer.frame.whole("".join(answer.words), answer.finish, usage))

    async def _stream(self, answer: _Answer, send: Send) -> None:
        async with aclosing(self.engine.run(answer.progress)) as tokens:
            if answer.fate.fails:
                await anext(tokens)
                await _refuse(send, 500, "InternalServerError", _ENGINE_DEAD)
                return
            await _pieces(answer, tokens, send)
        if answer.fate.breaks_at is not None:
            broken = error_body(_ENGINE_DEAD, "InternalServerError", 500)
            await send({"type": "http.response.body", "body": sse(broken) + DONE})
            return
        usage = self._finished(answer)
        end = answer.frame.last(answer.finish)
        if answer.asked.include_usage:
            end += answer.frame.usage(usage)
        await send({"type": "http.response.body", "body": end + DONE})

    def _finished(self, answer: _Answer) -> dict[str, Any]:
        """Tell the middleware what vLLM's server and its stat logger would; return the usage."""
        progress, asked = answer.progress, answer.asked
        answer.state.final_usage_info = SimpleNamespace(
            prompt_tokens=progress.input_tokens,
            completion_tokens=progress.output_tokens,
            prompt_tokens_details=SimpleNamespace(cached_tokens=progress.cached_tokens),
        )
        if self._emission is not None:
            chat = asked.operation is Operation.CHAT
            stats = _finished_stats(answer, answer.frame.answer_id + ("" if chat else "-0"))
            for record in read_finished(stats, self._emission.clock.monotonic()):
                self._emission.join.add(record)
        return usage_of(progress.input_tokens, progress.output_tokens, progress.cached_tokens)


def _finished_stats(answer: _Answer, engine_id: str) -> SimpleNamespace:
    """Return an object with the fields of vLLM's `IterationStats` that its stat loggers see."""
    progress = answer.progress
    later = progress.output_tokens - 1
    finished = SimpleNamespace(
        request_id=engine_id,
        finish_reason=answer.finish,
        queued_time=progress.queue_s,
        prefill_time=progress.prefill_s,
        decode_time=progress.decode_s,
        mean_time_per_output_token=progress.decode_s / later if later else 0.0,
        num_prompt_tokens=progress.input_tokens,
        num_cached_tokens=progress.cached_tokens,
        num_generation_tokens=progress.output_tokens,
        num_preemptions=0,
    )
    return SimpleNamespace(finished_requests=[finished])


async def _pieces(answer: _Answer, tokens: AsyncGenerator[int, None], send: Send) -> None:
    """Send the tokens as they come; stop where the stream is to break."""
    before, after = answer.frame.ends()
    breaks_at = answer.fate.breaks_at
    limit = len(answer.words) if breaks_at is None else int(breaks_at * len(answer.words))
    done = 0
    async for count in tokens:
        text = "".join(answer.words[done : done + count])
        piece = before + b'"' + text.encode() + b'"' + after
        if done == 0:
            await send(
                {
                    "type": "http.response.start",
                    "status": 200,
                    "headers": [(b"content-type", b"text/event-stream; charset=utf-8")],
                }
            )
            piece = answer.frame.first() + piece
        done += count
        await send({"type": "http.response.body", "body": piece, "more_body": True})
        if done > limit:
            return


async def _until_gone(work: Any, receive: Receive) -> None:
    """Do the work, and stop it when the client goes away."""
    task = asyncio.ensure_future(work)
    watcher = asyncio.ensure_future(_gone(receive))
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        watcher.cancel()
        if not task.done():
            task.cancel()
        await asyncio.wait({task})
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def _body(receive: Receive) -> bytes | None:
    """Return the request's body, or None when the client left before its end."""
    parts: list[bytes] = []
    size = 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        size += len(part)
        if size <= _BODY_LIMIT:
            parts.append(part)
        if not message.get("more_body", False):
            return b"".join(parts)


async def _refuse(
    send: Send, status: int, kind: str, message: str, param: str | None = None
) -> None:
    await _reply(send, status, error_body(message, kind, status, param))


async def _reply(send: Send, status: int, body: bytes) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [_JSON, length]})
    await send({"type": "http.response.body", "body": body})
