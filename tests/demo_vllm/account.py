"""Compare what clients saw of each request with what the store says of it: pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from tests.demo_vllm.traffic import Outcome, Sent

__all__ = ["ROWS", "Row", "differences", "row_of"]

ROWS: Final = """
    SELECT request_id, toString(event_id) AS event_id, server, model_version, route, stream,
           status_code, error_type, failed, aborted, output_tokens, tokens_estimated,
           queue_s IS NOT NULL AND prefill_s IS NOT NULL AND decode_s IS NOT NULL AS joined,
           kafka_partition, kafka_offset, kafka_index
    FROM requests
"""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of ``requests``, as far as a client can judge it."""

    request_id: str
    event_id: str
    server: str
    model_version: str
    route: str
    stream: bool
    status_code: int
    error_type: str | None
    failed: bool
    aborted: bool
    output_tokens: int | None
    tokens_estimated: bool
    joined: bool
    """It has what only the engine can tell: the times in its queue, of prefill, of decode."""
    place: tuple[int, int, int] = (0, 0, 0)
    """Partition, offset and index in the log."""


def row_of(values: Sequence[Any]) -> Row:
    """Return a row of the answer to ``ROWS``."""
    *fields, partition, offset, index = values
    return Row(*fields, place=(partition, offset, index))


def differences(
    sent: Sequence[Sent], rows: Iterable[Row], servers: Mapping[str, str]
) -> Iterator[str]:
    """Yield what does not agree, in words; nothing when every request is accounted for.

    Args:
        sent: every request that any client has sent.
        rows: everything that the store holds.
        servers: which server has a version, as rows name it.
    """
    by_id: dict[str, list[Row]] = {}
    for row in rows:
        by_id.setdefault(row.request_id, []).append(row)
    for name in ("event_id", "place"):
        counted = Counter(getattr(row, name) for found in by_id.values() for row in found)
        yield from (f"{name} {value} stands {n} times" for value, n in counted.items() if n > 1)
    known = Counter(one.request_id for one in sent)
    yield from (f"{name} was sent {n} times" for name, n in known.items() if n > 1)
    yield from (f"{name}: nobody has sent it, but there is a row" for name in by_id.keys() - known)
    for one in sent:
        found = by_id.get(one.request_id, [])
        if len(found) != 1:
            yield f"{one.request_id}: {len(found)} rows; its client says {one.outcome}"
            continue
        yield from (f"{one.request_id}: {text}" for text in _disagree(one, found[0], servers))


def _disagree(one: Sent, row: Row, servers: Mapping[str, str]) -> Iterator[str]:
    if row.stream is not one.stream:
        yield f"stream is {row.stream}"
    if one.status is not None and row.status_code != one.status:
        yield f"status {row.status_code}, its client got {one.status}"
    if row.aborted:
        yield "aborted, but its client has stayed"
    match one.outcome:
        case Outcome.ANSWERED:
            yield from _answered(one, row, servers)
        case Outcome.BROKEN | Outcome.REFUSED:
            if not row.failed or row.error_type is None:
                yield f"no failure, but its client says {one.outcome}: {one.said}"
        case _:
            yield f"its client says {one.outcome}: {one.said}"


def _answered(one: Sent, row: Row, servers: Mapping[str, str]) -> Iterator[str]:
    if row.failed or row.error_type is not None:
        yield f"failed ({row.error_type}), but its client was answered"
    if one.echoed_id != one.request_id:
        yield f"its client was told the id {one.echoed_id}"
    if servers.get(row.model_version) != row.server:
        yield f"{row.model_version} by {row.server}, where that version is not"
    if not row.joined:
        yield "the engine's view is missing"
    tokens = {one.tokens, row.output_tokens} | ({one.told_tokens} - {None})
    if len(tokens) > 1 or row.tokens_estimated:
        about = "about " if row.tokens_estimated else ""
        told = "" if one.told_tokens is None else f", its client was told {one.told_tokens}"
        yield f"{about}{row.output_tokens} tokens of {one.tokens} asked for{told}"
