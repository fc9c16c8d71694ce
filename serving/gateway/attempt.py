"""Ask one upstream, up to the moment from which the client has to be told what comes."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import aiohttp
import orjson

from serving.emit.error_class import find_error
from serving.emit.sse import SSEParser
from serving.gateway.upstream import Upstream

__all__ = ["Failed", "Opened", "Question", "Trouble", "attempt"]

_ERROR_LIMIT: Final = 65_536
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
    """What is asked, the same at every upstream but for the model's name and the headers."""

    path: str
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


@dataclass(frozen=True, slots=True)
class Failed:
    """An attempt of which nothing has reached the client."""

    trouble: Trouble
    status: int | None = None
    body: bytes | None = None
    """The upstream's own words, when they are an error in JSON."""
    retry_after: str | None = None


async def attempt(
    upstream: Upstream, question: Question, body: bytes, headers: Mapping[str, str]
) -> Opened | Failed:
    """Ask one upstream; what goes wrong before there is something for the client is returned."""
    response: aiohttp.ClientResponse | None = None
    result: Opened | Failed | None = None
    try:
        async with asyncio.timeout(question.patience_s):
            response = await upstream.ask(question.path, body, headers, stream=question.stream)
            result = await _look(response, question)
    except aiohttp.ClientConnectorError:
        result = Failed(Trouble.UNREACHABLE)
    except TimeoutError:  # aiohttp's are of this kind as well
        result = Failed(Trouble.TIMEOUT)
    except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError, OSError):
        result = Failed(Trouble.BROKEN)
    except (aiohttp.ClientError, ValueError):  # no HTTP, or heads beyond every limit
        result = Failed(Trouble.BAD_ANSWER)
    finally:
        if response is not None and not isinstance(result, Opened):
            response.close()
    return result


async def _look(response: aiohttp.ClientResponse, question: Question) -> Opened | Failed:
    status = response.status
    kind = response.headers.get("Content-Type", "").encode("latin-1", "replace")
    if status >= 400:
        return await _refused(response, status, kind)
    packed = response.headers.get("Content-Encoding", "identity") != "identity"
    if packed or not 200 <= status < 300:
        return Failed(Trouble.BAD_ANSWER)
    if question.stream and kind.startswith(b"text/event-stream"):
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
    if whole is None or not _is_object(whole):
        return Failed(Trouble.BAD_ANSWER)
    return Opened(response, status, kind, whole, whole=True)


async def _refused(response: aiohttp.ClientResponse, status: int, kind: bytes) -> Opened | Failed:
    body = await _whole(response, _ERROR_LIMIT)
    words = body if body and kind.startswith(b"application/json") and _is_object(body) else None
    if status == 429:
        return Failed(Trouble.RATE_LIMITED, 429, words, response.headers.get("Retry-After"))
    if status in (401, 403):
        return Failed(Trouble.REFUSED_KEY)  # our key, and none of the client's business
    if status == 404:
        return Failed(Trouble.NOT_THERE, 404, words)
    if status >= 500 or status == 408:
        return Failed(Trouble.ERROR, status, words, response.headers.get("Retry-After"))
    if words is None:
        return Failed(Trouble.BAD_ANSWER)
    return Opened(response, status, kind, words, whole=True)


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
