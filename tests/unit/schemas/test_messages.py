from __future__ import annotations

import pytest
from pydantic import ValidationError

from schemas.event import RequestEvent, new_event_id
from schemas.otel import OTEL_NAMES
from schemas.signal import SIGNALS, SignalName
from schemas.topics import TOPICS
from tests.support.events import event


def test_every_field_has_its_opentelemetry_term() -> None:
    assert set(OTEL_NAMES) == set(RequestEvent.model_fields)


def test_every_signal_is_described() -> None:
    assert set(SIGNALS) == set(SignalName)


def test_topics_are_unique_and_compacted_ones_keep_no_time() -> None:
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)
    for topic in TOPICS:
        assert ("retention.ms" in topic.config) is not topic.compacted


def test_event_ids_are_uuid7_and_sort_by_time() -> None:
    ids = [new_event_id() for _ in range(100)]
    assert all(item.version == 7 for item in ids)
    assert sorted(ids) == ids


def test_events_are_frozen() -> None:
    with pytest.raises(ValidationError):
        event().status_code = 500  # type: ignore[misc]


@pytest.mark.parametrize(
    ("fields", "failed", "rejected"),
    [
        ({}, False, False),
        ({"status_code": 500, "error_type": "internal"}, True, False),
        ({"status_code": 200, "error_type": "engine_dead"}, True, False),
        ({"status_code": 503, "error_type": "overloaded"}, True, False),
        ({"status_code": 404, "error_type": "not_found"}, False, True),
        ({"status_code": 200, "aborted": True, "error_type": "aborted"}, False, False),
    ],
)
def test_whose_fault_it_was(fields: dict[str, object], failed: bool, rejected: bool) -> None:
    assert (event(**fields).failed, event(**fields).rejected) == (failed, rejected)


def test_cached_tokens_are_part_of_the_input() -> None:
    with pytest.raises(ValidationError, match="cached_input_tokens"):
        event(input_tokens=5, cached_input_tokens=6)
