"""Records of ``llm.requests`` to events and back: one pydantic call for a whole micro-batch.

A record's value is one JSON object (an event) or a JSON array of them. The good path joins all
values of a micro-batch into one document and decodes that; only when it fails is each record, and
then each event of it, looked at alone, so that a bad one never costs its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.base import SCHEMA_VERSION
from schemas.dead_letter import DeadLetterReason
from schemas.event import RequestEvent

__all__ = ["MIN_TIME_US", "Decoded", "Place", "Refused", "decode_records", "encode_batch"]

MIN_TIME_US: Final = 1_577_836_800_000_000
"""2020-01-01: an event said to have ended before has a broken clock."""

_one_or_many: Final[TypeAdapter[list[RequestEvent | list[RequestEvent]]]] = TypeAdapter(
    list[RequestEvent | list[RequestEvent]]
)


@dataclass(frozen=True, slots=True)
class Place:
    """Where an event stood: which record of the micro-batch, which place in a batch record."""

    record: int
    index: int


@dataclass(frozen=True, slots=True)
class Refused:
    """One record (``index`` None) or one event that cannot be taken."""

    record: int
    index: int | None
    reason: DeadLetterReason
    detail: str
    payload: bytes


@dataclass(slots=True)
class Decoded:
    """Events with their places, in the order of the log, and what was refused."""

    events: list[RequestEvent] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    refused: list[Refused] = field(default_factory=list)


def encode_batch(events: Iterable[RequestEvent]) -> bytes:
    """Return events as one record's value: a JSON array."""
    return b"[" + b",".join(event.to_json() for event in events) + b"]"


def decode_records(
    values: Sequence[bytes | None], *, now_us: int, future_us: int, max_bytes: int
) -> Decoded:
    """Decode a micro-batch of record values; never raises on what they hold.

    Args:
        values: record values as Kafka gave them.
        now_us: wall clock, UTC microseconds.
        future_us: how far ahead of ``now_us`` an event may end.
        max_bytes: larger records are refused without being parsed.
    """
    decoded = Decoded()
    kept = _joinable(values, max_bytes)
    parsed = _decode_joined([values[i] for i in kept]) if len(kept) == len(values) else None
    if parsed is None:
        for record, value in enumerate(values):
            _decode_alone(decoded, record, value, max_bytes)
    else:
        for record, item in enumerate(parsed):
            events = item if isinstance(item, list) else [item]
            decoded.events.extend(events)
            decoded.places.extend(Place(record, index) for index in range(len(events)))
    _refuse_impossible_times(decoded, values, now_us + future_us)
    return decoded


def _joinable(values: Sequence[bytes | None], max_bytes: int) -> list[int]:
    """Return the records that may be joined: right size, brackets that belong together.

    With matching outer brackets no two records can merge into one event, nor one split into two,
    without the joined document failing to decode: see the count check in ``_decode_joined``.
    """
    return [
        i
        for i, value in enumerate(values)
        if value
        and len(value) <= max_bytes
        and (value[0], value[-1]) in {(0x7B, 0x7D), (0x5B, 0x5D)}
    ]


def _decode_joined(values: list[Any]) -> list[RequestEvent | list[RequestEvent]] | None:
    try:
        parsed = _one_or_many.validate_json(b"[" + b",".join(values) + b"]")
    except ValidationError:
        return None
    shapes_agree = len(parsed) == len(values) and all(
        item != [] and isinstance(item, list) == (value[0] == 0x5B)
        for item, value in zip(parsed, values, strict=True)
    )
    return parsed if shapes_agree else None


def _decode_alone(decoded: Decoded, record: int, value: bytes | None, max_bytes: int) -> None:
    def refuse(reason: DeadLetterReason, detail: str, payload: bytes) -> None:
        decoded.refused.append(Refused(record, None, reason, detail, payload))

    if not value:
        return refuse(DeadLetterReason.EMPTY, "the record has no value", b"")
    if len(value) > max_bytes:
        detail = f"{len(value)} bytes, at most {max_bytes} are taken"
        return refuse(DeadLetterReason.TOO_LARGE, detail, value)
    try:
        document = orjson.loads(value)
    except orjson.JSONDecodeError as error:
        return refuse(DeadLetterReason.NOT_JSON, str(error), value)
    if isinstance(document, dict):
        return _decode_event(decoded, record, 0, document, value, alone=True)
    if not isinstance(document, list):
        detail = f"a JSON {type(document).__name__}, expected an object or an array of objects"
        return refuse(DeadLetterReason.NOT_AN_EVENT, detail, value)
    if not document:
        return refuse(DeadLetterReason.EMPTY, "an array without events", value)
    for index, item in enumerate(document):
        _decode_event(decoded, record, index, item, orjson.dumps(item), alone=False)
    return None


def _decode_event(
    decoded: Decoded, record: int, index: int, item: Any, payload: bytes, *, alone: bool
) -> None:
    reason, detail = None, ""
    if not isinstance(item, dict):
        reason = DeadLetterReason.NOT_AN_EVENT
        detail = f"a JSON {type(item).__name__}, expected an object"
    elif "schema_version" in item and item["schema_version"] != SCHEMA_VERSION:
        reason = DeadLetterReason.UNKNOWN_SCHEMA_VERSION
        detail = f"schema_version {item['schema_version']!r:.100}, known is {SCHEMA_VERSION}"
    else:
        try:
            # JSON mode: the same rules as the joined path
            event = RequestEvent.model_validate_json(payload)
        except ValidationError as error:
            reason, detail = _classify(error)
        else:
            decoded.events.append(event)
            decoded.places.append(Place(record, index))
    if reason is not None:
        place = None if alone else index
        decoded.refused.append(Refused(record, place, reason, detail, payload))


def _classify(error: ValidationError) -> tuple[DeadLetterReason, str]:
    problems = error.errors(include_url=False, include_input=False)
    kinds = {problem["type"] for problem in problems}
    places = {str(problem["loc"][0]) for problem in problems if problem["loc"]}
    detail = "; ".join(
        f"{'.'.join(map(str, problem['loc'])) or 'event'}: {problem['msg']}"
        for problem in problems[:10]
    )[:2_000]
    if "extra_forbidden" in kinds:
        return DeadLetterReason.UNKNOWN_FIELD, detail
    if "missing" in kinds:
        return DeadLetterReason.MISSING_FIELD, detail
    if places & {"start_time_us", "end_time_us"} and kinds & {
        "greater_than_equal",
        "less_than_equal",
    }:
        return DeadLetterReason.TIME_OUT_OF_RANGE, detail
    if not places and "end_time_us" in detail:
        return DeadLetterReason.TIME_OUT_OF_RANGE, detail
    return DeadLetterReason.INVALID_VALUE, detail


def _refuse_impossible_times(
    decoded: Decoded, values: Sequence[bytes | None], latest_us: int
) -> None:
    ends = [event.end_time_us for event in decoded.events]
    starts = [event.start_time_us for event in decoded.events]
    if not ends or (max(ends) <= latest_us and min(starts) >= MIN_TIME_US):
        return
    events, places = [], []
    for event, place in zip(decoded.events, decoded.places, strict=True):
        if event.end_time_us > latest_us:
            reason = DeadLetterReason.TIME_IN_FUTURE
            detail = (
                f"end_time_us {event.end_time_us} is {event.end_time_us - latest_us} us too late"
            )
        elif event.start_time_us < MIN_TIME_US:
            reason = DeadLetterReason.TIME_OUT_OF_RANGE
            detail = f"start_time_us {event.start_time_us} is before 2020-01-01"
        else:
            events.append(event)
            places.append(place)
            continue
        alone = (values[place.record] or b"").lstrip()[:1] == b"{"
        index = None if alone else place.index
        decoded.refused.append(Refused(place.record, index, reason, detail, event.to_json()))
    decoded.events, decoded.places = events, places
