"""Garbage never costs its neighbours: each bad input of the issue, beside good ones."""

from __future__ import annotations

from typing import Any

import orjson
import pytest

from schemas.base import SCHEMA_VERSION
from schemas.codec import decode_records, encode_batch
from schemas.dead_letter import DeadLetterReason
from schemas.event import RequestEvent
from tests.support.events import NOW_US, event

FUTURE_US = 60_000_000
LIMIT = 1_000_000


def decode(*values: bytes | None) -> Any:
    return decode_records(values, now_us=NOW_US, future_us=FUTURE_US, max_bytes=LIMIT)


def places(decoded: Any) -> list[tuple[int, int]]:
    return list(zip(decoded.records.tolist(), decoded.indexes.tolist(), strict=True))


def changed(**fields: Any) -> bytes:
    document = orjson.loads(event().to_json())
    document.update(fields)
    return orjson.dumps({key: value for key, value in document.items() if value != "absent"})


def test_one_event_and_a_batch_come_back_as_they_were_in_order() -> None:
    events = [event(request_id=f"r{i}") for i in range(5)]
    decoded = decode(events[0].to_json(), encode_batch(events[1:4]), events[4].to_json())
    assert decoded.events == events
    assert places(decoded) == [(0, 0), (1, 0), (1, 1), (1, 2), (2, 0)]
    assert decoded.columns.values("event_id") == [str(item.event_id) for item in events]
    assert decoded.refused == []


BAD = [
    (None, DeadLetterReason.EMPTY),
    (b"", DeadLetterReason.EMPTY),
    (b"[]", DeadLetterReason.EMPTY),
    (b"\xff\xfe\x00garbage", DeadLetterReason.NOT_JSON),
    (event().to_json()[:-7], DeadLetterReason.NOT_JSON),
    (b'"text"', DeadLetterReason.NOT_AN_EVENT),
    (b"[1]", DeadLetterReason.NOT_AN_EVENT),
    (b"[[]]", DeadLetterReason.NOT_AN_EVENT),
    (changed(status_code="many"), DeadLetterReason.INVALID_VALUE),
    (changed(e2e_s="NaN"), DeadLetterReason.INVALID_VALUE),
    (changed(e2e_s=-1), DeadLetterReason.INVALID_VALUE),
    (changed(input_tokens=-5), DeadLetterReason.INVALID_VALUE),
    (changed(start_time_us=-1), DeadLetterReason.TIME_OUT_OF_RANGE),
    (changed(end_time_us=10**18), DeadLetterReason.TIME_OUT_OF_RANGE),
    (changed(start_time_us=5, end_time_us=6), DeadLetterReason.TIME_OUT_OF_RANGE),
    (changed(end_time_us=NOW_US - 5_000_000), DeadLetterReason.TIME_OUT_OF_RANGE),
    (changed(end_time_us=NOW_US + FUTURE_US + 1), DeadLetterReason.TIME_IN_FUTURE),
    (changed(schema_version=2), DeadLetterReason.UNKNOWN_SCHEMA_VERSION),
    (changed(schema_version="absent"), DeadLetterReason.MISSING_FIELD),
    (changed(event_id="absent"), DeadLetterReason.MISSING_FIELD),
    (changed(surprise=1), DeadLetterReason.UNKNOWN_FIELD),
    (b"[" + b" " * LIMIT + b"]", DeadLetterReason.TOO_LARGE),
]


@pytest.mark.parametrize(("value", "reason"), BAD, ids=lambda item: str(item)[:40])
def test_a_bad_record_is_refused_with_its_reason_and_costs_no_neighbour(
    value: bytes | None, reason: DeadLetterReason
) -> None:
    before, after = event(request_id="before"), event(request_id="after")
    decoded = decode(before.to_json(), value, after.to_json())
    assert [item.request_id for item in decoded.events] == ["before", "after"]
    assert decoded.records.tolist() == [0, 2]
    (refused,) = decoded.refused
    assert (refused.record, refused.reason) == (1, reason)
    assert refused.detail


def test_a_bad_event_inside_a_batch_record_is_refused_alone_with_its_index() -> None:
    good = [event(request_id=f"r{i}") for i in range(2)]
    value = b"[" + b",".join([good[0].to_json(), b'{"x":1}', good[1].to_json()]) + b"]"
    decoded = decode(value)
    assert decoded.events == good
    assert places(decoded) == [(0, 0), (0, 2)]
    (refused,) = decoded.refused
    assert (refused.record, refused.index) == (0, 1)
    assert refused.payload == b'{"x":1}'


def test_no_two_torn_records_join_into_an_event_that_nobody_sent() -> None:
    whole = event().to_json()
    decoded = decode(b"[" + whole, whole + b"]", whole + b"," + whole)
    assert decoded.events == []
    assert {item.reason for item in decoded.refused} == {DeadLetterReason.NOT_JSON}
    assert len(decoded.refused) == 3


def test_a_refusal_does_not_repeat_personal_data_in_its_detail() -> None:
    decoded = decode(changed(prompt_hash="alice@example.org"))
    assert "alice" not in decoded.refused[0].detail


def test_the_schema_version_is_what_events_are_written_with() -> None:
    assert orjson.loads(event().to_json())["schema_version"] == SCHEMA_VERSION
    assert RequestEvent.model_validate_json(event().to_json()) == event()
