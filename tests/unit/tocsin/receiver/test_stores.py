"""The stores alone: bounded, and right about what they drop."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.signal import SignalName
from tocsin.receiver import Fault, Point, Step, StepName
from tocsin.receiver.charts import PointStore
from tocsin.receiver.errors import SlackError
from tocsin.receiver.faults import FaultBox
from tocsin.receiver.incidents import IncidentStore
from tocsin.receiver.messages import MessageStore, channel_id
from tocsin.receiver.timeline import Timeline

NOW = 1_795_000_000_000_000


def event(action: str, key: str) -> dict[str, Any]:
    payload = {"summary": key, "severity": "error", "source": "s"}
    return {"routing_key": "r" * 32, "event_action": action, "dedup_key": key, "payload": payload}


def test_messages_beyond_the_limit_drop_the_oldest_and_count() -> None:
    store = MessageStore(limit=3)
    posted = [store.post({"channel": "#a", "text": str(n)}, NOW) for n in range(5)]
    assert [message.text for message in store.all()] == ["2", "3", "4"]
    assert store.dropped == 2
    with pytest.raises(SlackError, match="message_not_found"):
        store.update({"channel": posted[0].channel, "ts": posted[0].ts, "text": "x"}, NOW)


def test_two_posts_in_one_microsecond_have_two_ts_that_ascend() -> None:
    store = MessageStore()
    first, second = (store.post({"channel": "#a", "text": "x"}, NOW) for _ in range(2))
    assert first.ts < second.ts


def test_a_clock_that_steps_back_never_repeats_a_ts() -> None:
    store = MessageStore()
    late = store.post({"channel": "#a", "text": "x"}, NOW)
    early = store.post({"channel": "#a", "text": "x"}, NOW - 5_000_000)
    assert early.ts > late.ts


def test_edits_are_bounded() -> None:
    store = MessageStore()
    message = store.post({"channel": "#a", "text": "0"}, NOW)
    for n in range(1, 101):
        store.update({"channel": message.channel, "ts": message.ts, "text": str(n)}, NOW)
    assert (message.edit_count, len(message.edits), message.edits[-1]) == (100, 50, "99")


def test_a_channel_has_one_id_by_any_name() -> None:
    assert channel_id("#alerts") == channel_id("alerts") == channel_id(channel_id("alerts"))
    assert channel_id("alerts") != channel_id("other")


def test_incidents_beyond_the_limit_drop_a_resolved_one_first() -> None:
    store = IncidentStore(limit=2)
    store.take(event("trigger", "old-and-open"), NOW)
    store.take(event("trigger", "resolved"), NOW)
    store.take(event("resolve", "resolved"), NOW)
    store.take(event("trigger", "new"), NOW)
    assert [one.dedup_key for one in store.all()] == ["old-and-open", "new"]
    assert store.dropped == 1


def test_an_incidents_log_is_bounded_and_its_count_is_not() -> None:
    store = IncidentStore()
    for n in range(500):
        store.take(event("trigger", "k"), NOW + n)
    (incident,) = store.all()
    assert (incident.events, len(incident.log)) == (500, 200)
    assert incident.log[-1]["at_us"] == NOW + 499


def test_two_services_with_one_dedup_key_have_two_incidents() -> None:
    store = IncidentStore()
    store.take(event("trigger", "k"), NOW)
    store.take(event("trigger", "k") | {"routing_key": "s" * 32}, NOW)
    assert len(store.all()) == 2


def test_the_timeline_is_by_time_and_a_step_told_again_moves() -> None:
    timeline = Timeline()
    timeline.add(Step(step=StepName.PAGED, at_us=NOW + 5))
    timeline.add(Step(step="promoted", at_us=NOW + 1, title="Promoted"))
    timeline.add(Step(step=StepName.PAGED, at_us=NOW))
    assert [step["step"] for step in timeline.as_dict()["steps"]] == ["paged", "promoted"]


def test_the_timeline_never_drops_the_loops_own_steps() -> None:
    timeline = Timeline(limit=3)
    timeline.add(Step(step=StepName.PAGED, at_us=NOW))
    for n in range(10):
        timeline.add(Step(step=f"extra-{n}", at_us=NOW + n))
    steps = [step["step"] for step in timeline.as_dict()["steps"]]
    assert steps == ["paged", "extra-8", "extra-9"]
    assert timeline.dropped == 8


def test_points_are_bounded_by_series_and_an_unknown_value_stays_unknown() -> None:
    store = PointStore(points_a_series=2, series=2)
    points = [
        Point(signal=SignalName.ERROR_RATE, series=series, at_us=NOW + n, value=None)
        for series in ("v1", "v2", "v3")
        for n in range(3)
    ]
    assert len(store.add(points)) == 6
    assert store.dropped == 3
    kept = store.as_dict()["points"]
    assert [(p["series"], p["at_us"] - NOW) for p in kept] == [
        ("v1", 1),
        ("v1", 2),
        ("v2", 1),
        ("v2", 2),
    ]
    assert {p["value"] for p in kept} == {None}


def test_a_point_told_again_replaces_the_one_before_and_time_orders_them() -> None:
    store = PointStore(points_a_series=2)

    def point(at_us: int, value: float) -> Point:
        return Point(signal=SignalName.ERROR_RATE, series="v", at_us=NOW + at_us, value=value)

    store.add([point(2, 0.2), point(1, 0.1), point(2, 0.3), point(3, 0.4)])
    kept = [(p["at_us"] - NOW, p["value"]) for p in store.as_dict()["points"]]
    assert kept == [(2, 0.3), (3, 0.4)]


def test_faults_come_in_order_for_their_own_target_and_run_out() -> None:
    box = FaultBox()
    box.add(Fault(target="slack", status=500, times=2))
    box.add(Fault(target="pagerduty", status=503))
    box.add(Fault(target="slack", status=429))
    met = [box.next("slack") for _ in range(4)]
    assert [fault and fault.status for fault in met] == [500, 500, 429, None]
    assert box.next("pagerduty") is not None
    assert box.met == 4
