"""The fast decoder takes nothing that the model refuses, and reads everything as the model does."""

from __future__ import annotations

from typing import Any

import msgspec
import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.codec import decode_records
from schemas.event import RequestEvent
from schemas.event_struct import EVENT_FIELDS, EventStruct
from tests.support.events import NOW_US, event

FUTURE_US = 60_000_000
GOOD = orjson.loads(event().to_json())

odd = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.sampled_from([0, 1, 1.0, 86_400, 86_400.5, 100, 599, 600, 10**9, 10**9 + 1, 256, 32_768]),
    st.floats(),
    st.text(max_size=3),
    st.sampled_from(
        [
            "",
            "chat",
            "canary",
            "a" * 256,
            "a" * 257,
            "0" * 64,
            "0" * 64 + "\n",
            "g" * 64,
            "01920000-0000-7000-8000-000000000000",
            "01920000-0000-7000-8000-00000000000A",
            "{01920000-0000-7000-8000-000000000000}",
            "019200000000700080000000000000000000",
            "01920000-0000-7000-8000-0000000000-0",
            "\u06601920000-0000-7000-8000-000000000000",
            "é",
            "\x00",
            "1",
            "true",
        ]
    ),
    st.lists(st.one_of(st.text(max_size=3), st.integers()), max_size=3),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
changes = st.dictionaries(st.sampled_from([*EVENT_FIELDS, "surprise"]), odd, max_size=3)
numbers = st.fixed_dictionaries(
    {},
    optional={
        "start_time_us": st.integers(NOW_US - 10**13, NOW_US + 10**8),
        "end_time_us": st.integers(NOW_US - 10**13, NOW_US + 10**8),
        "input_tokens": st.integers(0, 50),
        "cached_input_tokens": st.integers(0, 50),
    },
)


def encoded(document: dict[str, Any]) -> bytes:
    return msgspec.json.encode(document)


def by_the_model(value: bytes) -> RequestEvent | None:
    try:
        found = RequestEvent.model_validate_json(value)
    except ValidationError:
        return None
    possible = found.end_time_us <= NOW_US + FUTURE_US and found.start_time_us >= 1.5778368e15
    return found if possible else None


def decode(*values: bytes) -> Any:
    return decode_records(values, now_us=NOW_US, future_us=FUTURE_US, max_bytes=10**6)


@settings(deadline=None)
@given(changes, numbers, st.sets(st.sampled_from(EVENT_FIELDS), max_size=2))
def test_an_event_is_taken_if_and_only_if_the_model_takes_it_and_as_it_reads_it(
    change: dict[str, Any], more: dict[str, Any], gone: set[str]
) -> None:
    document = {k: v for k, v in {**GOOD, **more, **change}.items() if k not in gone}
    value = encoded(document)
    expected = by_the_model(value)
    decoded = decode(value, event(request_id="neighbour").to_json())
    assert decoded.events[:-1] == ([expected] if expected else [])
    assert decoded.events[-1].request_id == "neighbour"
    assert len(decoded.refused) == (expected is None)
    assert decoded.columns.values("event_id") == [str(e.event_id) for e in decoded.events]


@settings(deadline=None)
@given(st.lists(st.tuples(changes, numbers), min_size=1, max_size=6))
def test_in_a_batch_record_each_event_is_judged_alone(
    edits: list[tuple[dict[str, Any], dict[str, Any]]],
) -> None:
    values = [encoded({**GOOD, **more, **change}) for change, more in edits]
    decoded = decode(b"[" + b",".join(values) + b"]")
    expected = {i: found for i, v in enumerate(values) if (found := by_the_model(v)) is not None}
    found = dict(zip(decoded.indexes.tolist(), decoded.events, strict=True))
    assert found == expected
    assert {r.index for r in decoded.refused} == set(range(len(values))) - expected.keys()


@settings(deadline=None)
@given(st.binary(max_size=40), st.integers(0, 700), st.integers(0, 700))
def test_torn_and_spoilt_records_are_read_as_the_model_reads_them(
    noise: bytes, low: int, high: int
) -> None:
    whole = event().to_json()
    value = whole[:low] + noise + whole[high:]
    expected = by_the_model(value) if value.lstrip()[:1] == b"{" else None
    if value.lstrip()[:1] == b"{":
        assert decode(value).events == ([expected] if expected else [])


def test_the_struct_has_the_models_fields_and_defaults() -> None:
    assert EventStruct.__struct_fields__ == EVENT_FIELDS
    required = {n: v for n, v in GOOD.items() if RequestEvent.model_fields[n].is_required()}
    struct = msgspec.convert(required, EventStruct)
    plain = RequestEvent.model_validate(required)
    for name in EVENT_FIELDS:
        assert str(getattr(struct, name)) == str(getattr(plain, name))
