"""The events are the same for a seed, of the trace's shape, and add up."""

from __future__ import annotations

from statistics import fmean

import pytest

from benchmarks.core.work import Work
from benchmarks.core.workload import BATCH_EVENTS, TRACE, Workload, base_time, batches, totals_of
from schemas.codec import encode_batch
from schemas.event import RequestEvent
from schemas.pricing import load_price_book
from tocsin.replay.traces import read_trace

START_US = 1_700_000_000_000_000
COUNT = 4_000  # more than the trace has, so that it is repeated
DAY_US = 86_400_000_000


@pytest.fixture(scope="module")
def events() -> list[RequestEvent]:
    return list(Workload(COUNT, START_US))


def test_a_seed_gives_the_same_bytes(events: list[RequestEvent]) -> None:
    again = list(Workload(COUNT, START_US))
    assert [event.to_json() for event in again] == [event.to_json() for event in events]
    other = next(iter(Workload(1, START_US, seed=2)))
    assert other.event_id != events[0].event_id


def test_ids_are_distinct_and_of_version_seven(events: list[RequestEvent]) -> None:
    assert len({event.event_id for event in events}) == COUNT
    assert {event.event_id.version for event in events} == {7}


def test_ends_ascend_at_the_pace_asked_for(events: list[RequestEvent]) -> None:
    ends = [event.end_time_us for event in events]
    assert ends == sorted(ends)
    assert ends[0] == START_US
    assert (ends[-1] - ends[0]) / 1e6 == pytest.approx(COUNT / 20_000, rel=0.15)


def test_gaps_and_tokens_are_the_traces(events: list[RequestEvent]) -> None:
    trace = read_trace(TRACE)
    assert len(trace) < COUNT
    lap = events[: len(trace)]
    assert [event.input_tokens for event in lap] == [arrival.input_tokens for arrival in trace]
    long_s, whole_s = trace[700].offset_s, trace[-1].offset_s
    share = (lap[700].end_time_us - START_US) / (lap[-1].end_time_us - START_US)
    assert share == pytest.approx(long_s / whole_s, abs=0.001)


def test_the_mix(events: list[RequestEvent]) -> None:
    assert 500 < fmean(len(event.to_json()) for event in events) < 700
    assert 0.005 < fmean(event.failed for event in events) < 0.02
    for name in ("model", "model_version", "feature", "user_id", "server", "plan"):
        assert len({getattr(event, name) for event in events}) > 1, name


def test_the_work_on_all_comes_to_the_totals(events: list[RequestEvent]) -> None:
    values = [encode_batch(batch) for batch in batches(events)]
    assert len(values) == -(-COUNT // BATCH_EVENTS)
    work = Work()
    work.add(values)
    work.drain()
    assert work.events == COUNT
    assert work.totals == totals_of(events).as_dict()
    assert work.totals["cost_nano_usd"] > 0
    with pytest.raises(ValueError, match="refused"):
        work.add([b"{}"])


def test_every_price_is_known(events: list[RequestEvent]) -> None:
    prices = load_price_book()
    assert all(prices.find(event.provider, event.model) for event in events)


@pytest.mark.parametrize("hour", [0, 1, 12, 23])
def test_the_base_time_is_past_aligned_and_within_a_day(hour: int) -> None:
    now_us = START_US // DAY_US * DAY_US + hour * 3_600_000_000 + 45_000_000
    start_us = base_time(now_us, 200_000)
    end_us = start_us + 10_000_000
    assert start_us % 10_000_000 == 0
    assert end_us <= now_us - 60_000_000
    assert start_us // DAY_US == end_us // DAY_US
    assert now_us - start_us < 600_000_000
