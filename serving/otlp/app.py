"""The OTLP receiver as an ASGI application: `POST /v1/traces`.

An export is acknowledged when Kafka has its events, and not before: whatever else happens, the
client is told to send it again, and what comes twice has the same event ids.
"""

from __future__ import annotations

import asyncio
import hmac
from typing import Final

import structlog
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from schemas.clock import Clock
from schemas.settings import OtlpSettings
from serving.errors import OtlpBusyError, OtlpError
from serving.otlp import metrics
from serving.otlp.decode import Encoding, encoding_of, parse, spans_in, unpack
from serving.otlp.event import EventMaker
from serving.otlp.handover import HandsOver
from serving.otlp.letters import letter_of
from serving.otlp.replies import failure, success
from serving.otlp.sort import Sorted, sort_spans

__all__ = ["create_app"]

_BUSY_S: Final = 1
_GONE: Final = 499
"""Counted for clients that left before all of their export had come."""

log = structlog.get_logger("tocsin.otlp")


def create_app(
    settings: OtlpSettings, maker: EventMaker, handover: HandsOver, clock: Clock
) -> Starlette:
    """Return the application.

    Args:
        settings: its limits, the token, and what is reported elsewhere.
        maker: makes events of spans.
        handover: takes them for good.
        clock: UTC microseconds.
    """
    receiver = _Receiver(settings, maker, handover, clock)
    routes = [
        Route("/v1/traces", receiver.traces, methods=["POST"]),
        Route("/healthz", _well, methods=["GET"]),
    ]
    # Without a token, a page of another origin whose name was rebound to 127.0.0.1 must do nothing.
    local = [Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost", "[::1]"])]
    return Starlette(routes=routes, middleware=[] if settings.token.get_secret_value() else local)


async def _well(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


class _Receiver:
    def __init__(
        self, settings: OtlpSettings, maker: EventMaker, handover: HandsOver, clock: Clock
    ) -> None:
        self._settings = settings
        self._maker = maker
        self._handover = handover
        self._clock = clock
        self._active = 0
        # One export at a time is unpacked: it takes several times the room of its bytes.
        self._unpacking = asyncio.Semaphore(1)

    async def traces(self, request: Request) -> Response:
        """Take an export."""
        media = request.headers.get("content-type", "")
        encoding = Encoding.JSON if "json" in media.lower() else Encoding.PROTOBUF
        try:
            response = await self._take(request)
        except OtlpBusyError as error:
            response = failure(
                error.status, str(error), encoding, retry_after_s=error.retry_after_s
            )
        except OtlpError as error:
            response = failure(error.status, str(error), encoding)
        except ClientDisconnect:
            response = Response(status_code=_GONE)
        except Exception:
            log.exception("export_fails")
            response = failure(500, "a fault of the receiver's; its log says more", encoding)
        metrics.EXPORTS.labels(str(response.status_code)).inc()
        return response

    async def _take(self, request: Request) -> Response:
        """Answer an export that is taken.

        Raises:
            OtlpError: it is not.
        """
        _authorise(request, self._settings.token)
        encoding = encoding_of(request.headers.get("content-type", ""))
        if self._active >= self._settings.concurrency:
            raise OtlpBusyError(429, "too many exports at once", _BUSY_S)
        self._active += 1
        metrics.ACTIVE.set(self._active)
        try:
            body = await _read(request, self._settings)
            coding = request.headers.get("content-encoding", "")
            async with self._unpacking:
                done = await asyncio.to_thread(self._sort, body, coding, encoding)
            del body
            letters = [letter_of(refused, self._clock()) for refused in done.refused]
            await self._handover.send(done.events, letters)
        finally:
            self._active -= 1
            metrics.ACTIVE.set(self._active)
        _count(done)
        first = done.refused[0].detail if done.refused else ""
        return success(len(done.refused), f"refused: {first}", encoding)

    def _sort(self, body: bytes, coding: str, encoding: Encoding) -> Sorted:
        export = parse(unpack(body, coding, self._settings.body_bytes), encoding)
        return sort_spans(spans_in(export), self._maker, self._settings.reported, self._clock())


def _count(done: Sorted) -> None:
    for (source, outcome), count in done.counts.items():
        metrics.SPANS.labels(source, outcome).inc(count)
    for refused in done.refused:
        metrics.REFUSED.labels(refused.reason.value).inc()


def _authorise(request: Request, token: SecretStr) -> None:
    wanted = token.get_secret_value()
    if not wanted:
        return
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    right = hmac.compare_digest(given.strip().encode(), wanted.encode())
    if scheme.lower() != "bearer" or not right:
        raise OtlpError(401, "expected the header 'Authorization: Bearer TOKEN'")


async def _read(request: Request, settings: OtlpSettings) -> bytes:
    """Return a request's body.

    Of one that is too large as much again is read and thrown away: many clients read no answer
    before they have sent everything.

    Raises:
        OtlpError: 413, it is too large; 503, it did not come in time, and may come again.
        ClientDisconnect: the client left.
    """
    limit = settings.body_bytes
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(settings.body_timeout_s):
            async for part in request.stream():
                size += len(part)
                if size <= limit:
                    parts.append(part)
                    continue
                parts.clear()
                if size > 2 * limit:
                    break
    except TimeoutError:
        metrics.STALLED.labels("body").inc()
        raise OtlpBusyError(
            503,
            f"the body did not come within {settings.body_timeout_s:g} s",
            settings.retry_after_s,
        ) from None
    if size > limit:
        raise OtlpError(413, f"the body is larger than {limit} bytes")
    metrics.BYTES.inc(size)
    return b"".join(parts)
