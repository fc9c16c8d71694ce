"""Records: their sizes, order and keys."""

from __future__ import annotations

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.base import Message
from schemas.codec import decode_records
from serving.emit.batches import encode, pack
from tests.unit.serving.emit.events import make_event, make_sample


@given(
    st.lists(st.integers(0, 3_000) | st.none(), max_size=30),
    st.integers(1, 10),
    st.integers(1, 8_000),
)
def test_nothing_is_lost_and_no_record_is_too_large(
    texts: list[int | None], max_events: int, max_bytes: int
) -> None:
    messages: list[Message] = [
        make_sample() if length is None else make_event(n, prompt_redacted="x" * length)
        for n, length in enumerate(texts)
    ]
    records = pack(map(encode, messages), max_events, max_bytes)
    assert sum(record.count for record in records) == len(messages)
    requests = [record for record in records if record.topic == "llm.requests"]
    for record in requests:
        assert 1 <= record.count <= max_events
        assert len(record.value) <= max_bytes or record.count == 1
    decoded = decode_records(
        [record.value for record in requests], now_us=2 * 10**15, future_us=0, max_bytes=10**7
    )
    assert decoded.refused == []
    wanted = [f"r-{n}" for n, length in enumerate(texts) if length is not None]
    assert [event.request_id for event in decoded.events] == wanted


def test_keys() -> None:
    event = make_event()
    [record, sample] = pack(map(encode, [event, make_sample()]), 10, 10_000)[::-1]
    assert record.key == str(event.event_id).encode()
    assert (sample.topic, sample.key) == ("llm.engine", b"s-1")
    assert orjson.loads(sample.value)["server"] == "s-1"


def test_strangers() -> None:
    class Stranger(Message):
        pass

    with pytest.raises(TypeError, match="Stranger"):
        encode(Stranger())
