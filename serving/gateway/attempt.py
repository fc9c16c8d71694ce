"""Ask one upstream, up to the moment from which the client has to be told what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

import aiohttp
import orjson

from serving.emit.error_class import find_error
from serving.emit.sse import SSEParser
from serving.gateway.dialect import GarbageError, Translator, Wording
from serving.gateway.replies import JSON
from serving.gateway.upstream import Upstream

__all__ = ["Failed", "Opened", "Question", "Trouble", "attempt"]

_ERROR_LIMIT: Final = 65_536
_TAIL_S: Final = 1.0
_PARSED: Final = 1_048_576
_SSE_STARTS: Final = (b"data:", b"event:", b"id:", b"retry:", b":", b"\n", b"\r", b"\xef\xbb\xbf")


class Trouble(StrEnum):
    """Why an attempt failed. The first five are held against the upstream."""

    UNREACHABLE = "unreachable"
    TIMEOUT = "timeout"
    ERROR = "error"
    BROKEN = "broken"
    BAD_ANSWER = "bad_answer"
    RATE_LIMITED = "rate_limited"
    REFUSED_KEY = "refused_key"
    NOT_THERE = "not_there"

    @property
    def counts(self) -> bool:
        """Tell whether the circuit breaker counts it.

        An upstream that is busy, refuses our key or lacks a model is not sick, and would be the
        same after an ejection.
        """
        return self not in (Trouble.RATE_LIMITED, Trouble.REFUSED_KEY, Trouble.NOT_THERE)


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked, in whatever words."""

    stream: bool
    answer_bytes: int
    patience_s: float
    """How long the first byte of a stream, or the whole of another answer, may take."""


@dataclass(frozen=True, slots=True)
class Opened:
    """An answer for the client: its head, and its first chunk or all of it."""

    response: aiohttp.ClientResponse
    status: int
    content_type: bytes
    body: bytes
    whole: bool
    translator: Translator | None = None

    async def read(self) -> bytes:
        """Return what comes next of a stream, for the client to read; nothing at its end.

        Raises:
            aiohttp.ClientError, TimeoutError, GarbageError: the upstream broke it off.
        """
        content = self.response.content
        translator = self.translator
        if translator is None:
            return await content.readany()
        while not translator.ended:
            if not (chunk := await content.readany()):
                raise aiohttp.ClientPayloadError("the stream ended without its last event")
            if said := translator.feed(chunk):
                return said
        await _to_end(self.response)
        return b""


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of which nothing has reached the client."""

    trouble: Trouble
    status: int | None = None
    body: bytes | None = None
    """The upstream's own words, when they are an error in JSON."""
    retry_after: str | None = None


async def attempt(
    upstream: Upstream, question: Question, wording: Wording, headers: Mapping[str, str]
) -> Opened | Failed:
    """Ask one upstream; what goes wrong before there is something for the client is returned."""
    response: aiohttp.ClientResponse | None = None
    result: Opened | Failed | None = None
    try:
        async with asyncio.timeout(question.patience_s):
            response = await upstream.ask(
                wording.path, wording.body, headers, stream=question.stream
            )
            result = await _look(response, question, wording.translator)
    except aiohttp.ClientConnectorError:
        result = Failed(Trouble.UNREACHABLE)
    except TimeoutError:  # aiohttp's are of this kind as well
        result = Failed(Trouble.TIMEOUT)
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError):
        result = Failed(Trouble.BROKEN)
    except (aiohttp.ClientError, GarbageError, ValueError):  # no HTTP, or heads beyond every limit
        result = Failed(Trouble.BAD_ANSWER)
    finally:
        if response is not None and not isinstance(result, Opened):
            response.close()
    return result


async def _look(
    response: aiohttp.ClientResponse, question: Question, translator: Translator | None
) -> Opened | Failed:
    status = response.status
    kind = response.headers.get("Content-Type", "").encode("latin-1", "replace")
    if status >= 400:
        body = await _whole(response, _ERROR_LIMIT)
        words = body if body and kind.startswith(JSON[1]) and _is_object(body) else None
        if translator is not None:
            status, words = translator.refusal(status, words or b"")
        return _refused(response, status, words)
    packed = response.headers.get("Content-Encoding", "identity") != "identity"
    if packed or not 200 <= status < 300:
        return Failed(Trouble.BAD_ANSWER)
    if question.stream and kind.startswith(b"text/event-stream"):
        if translator is not None:
            return await _translated(response, kind, translator)
        first = await response.content.readany()
        if not first:
            return Failed(Trouble.BROKEN)
        if not first.startswith(_SSE_STARTS):
            return Failed(Trouble.BAD_ANSWER)
        if (error := _first_error(first)) is not None:
            return Failed(Trouble.ERROR, 502, error)
        return Opened(response, status, kind, first, whole=False)
    if not kind.startswith(b"application/json"):
        return Failed(Trouble.BAD_ANSWER)
    whole = await _whole(response, question.answer_bytes)
    if whole is not None and translator is not None:
        whole = translator.whole(whole)
    if whole is None or not _is_object(whole):
        return Failed(Trouble.BAD_ANSWER)
    return Opened(response, status, kind, whole, whole=True)


async def _translated(
    response: aiohttp.ClientResponse, kind: bytes, translator: Translator
) -> Opened | Failed:
    """Look at a stream up to its first output: until then its error is as good as a refusal."""
    opened = Opened(response, response.status, kind, b"", whole=False, translator=translator)
    first = await opened.read()
    if translator.failure is not None:
        return _refused(response, *translator.failure)
    return replace(opened, body=first)


def _refused(response: aiohttp.ClientResponse, status: int, words: bytes | None) -> Opened | Failed:
    """Return what an error comes to.

    Args:
        response: the answer that held it.
        status: of the error.
        words: an object in JSON for the client, if the upstream had one.
    """
    if status == 429:
        return Failed(Trouble.RATE_LIMITED, 429, words, response.headers.get("Retry-After"))
    if status in (401, 402, 403):  # our key and our bill, and none of the client's business
        return Failed(Trouble.REFUSED_KEY)
    if status == 404:
        return Failed(Trouble.NOT_THERE, 404, words)
    if status >= 500 or status == 408:
        return Failed(Trouble.ERROR, status, words, response.headers.get("Retry-After"))
    if words is None:
        return Failed(Trouble.BAD_ANSWER)
    return Opened(response, status, JSON[1], words, whole=True)


async def _to_end(response: aiohttp.ClientResponse) -> None:
    """Read the nothing after a last event, so that the connection can serve again."""
    try:
        async with asyncio.timeout(_TAIL_S):
            while await response.content.readany():
                pass
    except (aiohttp.ClientError, TimeoutError):
        response.close()


async def _whole(response: aiohttp.ClientResponse, limit: int) -> bytes | None:
    """Return a whole body, or None when it is longer than the limit."""
    parts: list[bytes] = []
    size = 0
    while chunk := await response.content.readany():
        size += len(chunk)
        if size > limit:
            return None
        parts.append(chunk)
    return b"".join(parts)


def _is_object(body: bytes) -> bool:
    """Tell whether a body is a JSON object; of a very long one only the ends are looked at."""
    if len(body) > _PARSED:
        return body.lstrip()[:1] == b"{" and body.rstrip()[-1:] == b"}"
    try:
        return isinstance(orjson.loads(body), dict)
    except orjson.JSONDecodeError:
        return False


def _first_error(chunk: bytes) -> bytes | None:
    """Return the error with which a stream begins, or None when it begins well."""
    if b'"error"' not in chunk:
        return None
    for data in SSEParser(_ERROR_LIMIT).feed(chunk)[:1]:
        try:
            found = orjson.loads(data)
        except orjson.JSONDecodeError:
            return None
        if isinstance(found, dict) and find_error(found) is not None:
            return data
    return None
