"""Stamped records are new events of the time asked for, and otherwise the same."""

from __future__ import annotations

import orjson
import pytest

from benchmarks.core.stamp import BLOCK_US, Template, templates
from schemas.event import RequestEvent

BLOCK = 179_000_000
NUMBER = 1_790_000_000_000 << 4


@pytest.fixture(scope="module")
def made() -> list[Template]:
    return templates(4, 500)


def events_of(value: bytes) -> list[RequestEvent]:
    return [RequestEvent.model_validate_json(orjson.dumps(item)) for item in orjson.loads(value)]


def test_a_template_has_its_share_of_the_events(made: list[Template]) -> None:
    assert len(made) == 4
    assert sum(template.events for template in made) > 4 * 450
    assert [len(events_of(one.stamp(NUMBER, BLOCK))) for one in made] == [t.events for t in made]


def test_ids_differ_between_numbers_and_templates(made: list[Template]) -> None:
    records = [made[n % 4].stamp(NUMBER + n, BLOCK) for n in range(8)]
    ids = [event.event_id for record in records for event in events_of(record)]
    assert len(set(ids)) == len(ids)
    assert {event_id.version for event_id in ids} == {7}


def test_times_are_of_the_block_and_durations_stay(made: list[Template]) -> None:
    events = events_of(made[0].stamp(NUMBER, BLOCK))
    assert {event.end_time_us // BLOCK_US for event in events} == {BLOCK}
    for event in events:
        assert event.end_time_us - event.start_time_us == pytest.approx(event.e2e_s * 1e6, abs=1)
    assert any(event.start_time_us // BLOCK_US < BLOCK for event in events)
