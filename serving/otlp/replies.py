"""Answers as OTLP/HTTP has them, in the encoding of the request.

https://opentelemetry.io/docs/specs/otlp/#otlphttp-response
"""

from __future__ import annotations

from http import HTTPStatus
from typing import Final

from google.protobuf.json_format import MessageToJson
from google.protobuf.message import Message
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTracePartialSuccess,
    ExportTraceServiceResponse,
)
from starlette.responses import Response

from serving.otlp.decode import Encoding

__all__ = ["failure", "success"]

# google.rpc.Code
_CODES: Final = {400: 3, 401: 16, 413: 8, 415: 3, 429: 8, 503: 14}
_INTERNAL: Final = 13


def success(refused: int, reason: str, encoding: Encoding) -> Response:
    """Return the answer to an export that is taken, of which some spans may be refused."""
    partial = None
    if refused:
        partial = ExportTracePartialSuccess(rejected_spans=refused, error_message=reason[:1_000])
    return _response(200, ExportTraceServiceResponse(partial_success=partial), encoding)


def failure(
    status: int, text: str, encoding: Encoding, *, retry_after_s: int | None = None
) -> Response:
    """Return the answer to an export of which nothing is taken."""
    headers = {}
    if retry_after_s is not None:
        headers["Retry-After"] = str(retry_after_s)
    if status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "Bearer"
    if status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["Connection"] = "close"  # the rest of the body is not read
    said = Status(code=_CODES.get(status, _INTERNAL), message=text)
    return _response(status, said, encoding, headers)


def _response(
    status: int, message: Message, encoding: Encoding, headers: dict[str, str] | None = None
) -> Response:
    if encoding is Encoding.JSON:
        body = MessageToJson(message, indent=None).encode()
    else:
        body = message.SerializeToString()
    return Response(body, status, headers, media_type=str(encoding))
