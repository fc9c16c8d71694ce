"""When a client that is gone has left early, and when it has hung up because all was said."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.event import Operation
from serving.emit.exchange import Exchange
from serving.emit.request import Sender

PIECE = b'data: {"choices": [{"index": 0, "delta": {"content": "a"}}]}\n\n'
ERROR = b'data: {"error": {"message": "EngineCore encountered an issue", "code": 500}}\n\n'
DONE = b"data: [DONE]\n\n"
GONE = {"type": "http.disconnect"}


def exchange_of(*chunks: bytes, kind: bytes = b"text/event-stream") -> Exchange:
    """Return an exchange of which these chunks, and no last one, have been sent."""
    exchange = Exchange(Operation.CHAT, Sender("r"), 0.0)
    exchange.received({"type": "http.request", "body": b'{"stream": true}'}, 0.0)
    start: dict[str, Any] = {"type": "http.response.start", "status": 200}
    exchange.sending({**start, "headers": [(b"content-type", kind)]}, 1.0)
    for at, chunk in enumerate(chunks, 2):
        message = {"type": "http.response.body", "body": chunk, "more_body": True}
        exchange.sending(message, at)
        exchange.sent(message, at)
    return exchange


@pytest.mark.parametrize(
    ("chunks", "aborted", "error_type"),
    [
        ([PIECE], True, None),
        ([PIECE, ERROR], False, "engine_dead"),
        ([PIECE, DONE], False, None),
        ([PIECE + DONE], False, None),
        ([PIECE, b"data: [DONE"], True, None),
        ([], True, None),
    ],
)
@pytest.mark.parametrize("how", ["told", "undeliverable"])
def test_only_who_leaves_before_the_stream_is_over_aborts(
    chunks: list[bytes], aborted: bool, error_type: str | None, how: str
) -> None:
    exchange = exchange_of(*chunks)
    if how == "told":
        exchange.received(GONE, 9.0)
    else:
        exchange.sending({"type": "http.response.body", "body": b""}, 8.0)
        exchange.undeliverable(9.0)
    exchange.over()
    assert (exchange.aborted, exchange.error_type) == (aborted, error_type)
    assert exchange.told_all is not aborted
    assert exchange.status_code == 200


def test_what_looks_like_the_end_of_a_stream_in_another_answer_is_none() -> None:
    exchange = exchange_of(DONE, kind=b"application/json")
    exchange.received(GONE, 9.0)
    assert exchange.aborted
