"""Each phase of the machine, and each way from one to another."""

from __future__ import annotations

import pytest

from alerting.effects import Act, Notify, Transitioned
from alerting.errors import SignalMismatchError
from alerting.intent import NotifyEvent
from alerting.machine import step
from alerting.policy import Policy
from alerting.state import AlertState
from schemas.alert import AlertPhase
from tests.unit.alerting.drive import EPOCH_US, LABELS, Drive, rule_of


def test_a_good_series_costs_nothing() -> None:
    drive = Drive(rule_of())
    before = drive.state
    signal = drive.signal(0, 0.001)
    state, effects = step(drive.rule, before, signal, EPOCH_US, Policy())
    assert state is before
    assert effects == ()


def test_a_rule_without_dwell_fires_at_once_and_tells_with_the_advice() -> None:
    drive = Drive(rule_of())
    effects = drive.see(0, 0.02)
    assert [type(effect) for effect in effects] == [Transitioned, Notify]
    assert drive.phase == "firing"
    (intent,) = drive.intents
    assert intent.event is NotifyEvent.TRIGGER
    assert intent.loud
    assert intent.advice == "Check the provider."
    assert intent.title == "llama v2: 2.0% fail"
    assert intent.incident_id == f"{drive.state.fingerprint}-{EPOCH_US}"


def test_the_threshold_itself_is_not_above_it() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.01)
    assert drive.phase == "inactive"


def test_a_pending_alert_fires_only_after_its_dwell() -> None:
    drive = Drive(rule_of(**{"for": "1m"}))
    drive.run(0, 60, 0.02)
    assert drive.phase == "pending"
    assert drive.intents == []
    drive.see(60, 0.02)
    assert drive.phase == "firing"
    assert drive.state.firing_us == EPOCH_US + 60_000_000


def test_a_pending_alert_that_clears_is_forgotten_silently() -> None:
    drive = Drive(rule_of(**{"for": "1m"}))
    drive.run(0, 60, 0.02)
    drive.see(60, 0.001)
    drive.run(70, 130, 0.02)
    assert drive.phase == "pending"
    assert drive.intents == []


def test_unknown_stops_the_clock_of_the_dwell() -> None:
    drive = Drive(rule_of(**{"for": "1m"}))
    drive.run(0, 40, 0.02)
    drive.run(40, 70, None)
    drive.see(70, 0.02)
    assert drive.phase == "pending"
    drive.run(80, 90, 0.02)
    assert drive.phase == "pending"
    drive.see(90, 0.02)
    assert drive.phase == "firing"


def test_a_pending_alert_without_data_ends_without_having_fired() -> None:
    drive = Drive(rule_of(**{"for": "1m"}))
    drive.see(0, 0.02)
    drive.run(10, 90, None)
    assert drive.phase == "inactive"
    assert drive.intents == []
    assert "no data" in drive.transitions[-1].reason


def test_too_few_samples_are_unknown() -> None:
    drive = Drive(rule_of())
    drive.run(0, 600, 0.9, samples=99)
    assert drive.phase == "inactive"
    drive.see(600, 0.9, samples=100)
    assert drive.phase == "firing"


def test_a_good_value_resolves_at_once_without_keep_firing_for() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.02)
    drive.see(10, 0.001)
    assert drive.phase == "resolved"
    assert [intent.event for intent in drive.intents] == [NotifyEvent.TRIGGER, NotifyEvent.RESOLVE]
    assert [intent.revision for intent in drive.intents] == [1, 2]
    assert len({intent.dedup_key for intent in drive.intents}) == 1
    assert drive.intents[-1].title == "llama v2: 2.0% fail"  # what broke, though it is good now
    assert drive.intents[-1].value == 0.001


def test_keep_firing_for_damps_flapping() -> None:
    drive = Drive(rule_of(keep_firing_for="1m"))
    drive.see(0, 0.02)
    for at in range(10, 200, 20):
        drive.see(at, 0.001)
        drive.see(at + 10, 0.02)
    assert drive.phase == "firing"
    drive.run(300, 360, 0.001)
    assert drive.phase == "firing"
    drive.see(360, 0.001)
    assert drive.phase == "resolved"
    assert len(drive.intents) == 2  # one trigger, one resolve: nothing in between


def test_the_next_episode_is_another_incident() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.02)
    drive.see(10, 0.001)
    drive.see(20, 0.02)
    first, _, second = drive.intents
    assert second.event is NotifyEvent.TRIGGER
    assert second.dedup_key != first.dedup_key
    assert second.fingerprint == first.fingerprint
    assert second.revision == 1
    assert drive.state.record_of("check") is not None


def test_unknown_neither_resolves_nor_escalates_and_says_so_once() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.5)
    effects = drive.run(10, 3_000, None)
    assert drive.phase == "firing"
    assert drive.acts == []
    said = [effect for effect in effects if isinstance(effect, Notify)]
    assert len(said) == 1
    assert "no data" in said[0].intent.news[0]
    assert said[0].intent.value is None
    drive.see(3_000, 0.5)
    assert [act.kind for act in drive.acts] == ["rollback"]


def test_few_samples_of_an_open_alert_are_told_with_their_number() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.5)
    drive.see(10, 0.5, samples=7)
    assert "7 of 100" in drive.intents[-1].news[0]


@pytest.mark.parametrize("value", [0.5, 0.001, None])
def test_rules_hold_while_the_watermark_lags_and_say_so_once(value: float | None) -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.5)
    drive.policy = drive.policy.hold(True)
    effects = drive.run(10, 600, value)
    assert drive.phase == "firing"
    assert drive.acts == []
    assert len(effects) == 1
    assert isinstance(effects[0], Transitioned)
    assert "watermark" in effects[0].transition.reason
    drive.policy = drive.policy.hold(False)
    drive.see(600, 0.5)
    assert drive.phase == "escalated"


def test_nothing_fires_while_the_watermark_lags() -> None:
    drive = Drive(rule_of(), Policy(lagging=True))
    assert drive.run(0, 600, 0.9) == []
    assert drive.phase == "inactive"


def test_the_rule_about_the_lag_itself_does_not_hold() -> None:
    rule = rule_of(signal="watermark_lag", over="0s", by=[], condition="> 60", summary="late",
                   min_samples=0, ladder=[])  # fmt: skip
    drive = Drive(rule, Policy(lagging=True))
    drive.see(0, 75, samples=0)
    assert drive.phase == "firing"
    drive.see(10, 3, samples=0)
    assert drive.phase == "resolved"


def test_repeated_and_older_signals_change_nothing() -> None:
    drive = Drive(rule_of())
    drive.see(100, 0.5)
    for at in (100, 90, 0):
        assert drive.see(at, 0.001) == ()
    assert drive.phase == "firing"


def test_a_state_of_another_series_is_refused() -> None:
    drive = Drive(rule_of())
    other = AlertState.inactive("error-rate", {**LABELS, "model_version": "v1"})
    with pytest.raises(SignalMismatchError, match="error-rate"):
        step(drive.rule, other, drive.signal(0, 0.5), EPOCH_US, Policy())
    with pytest.raises(SignalMismatchError):
        step(rule_of(over="61s"), drive.state, drive.signal(0, 0.5), EPOCH_US, Policy())


def test_a_rule_for_low_values_fires_below() -> None:
    rule = rule_of(signal="quality_score", condition="< 0.7", summary="{value:.2f}", ladder=[])
    drive = Drive(rule)
    drive.see(0, 0.8)
    assert drive.phase == "inactive"
    drive.see(10, 0.6)
    drive.see(20, 0.5)
    drive.see(30, 0.65)
    drive.see(40, 0.9)
    assert drive.intents[-1].title == "0.50"  # the worst of the incident


def test_every_transition_says_where_from_and_why() -> None:
    drive = Drive(rule_of(**{"for": "10s"}))
    drive.run(0, 100, 0.5)
    drive.answer()
    told = drive.transitions
    assert [(t.from_phase, t.to_phase) for t in told] == [
        (AlertPhase.INACTIVE, AlertPhase.PENDING),
        (AlertPhase.PENDING, AlertPhase.FIRING),
        (AlertPhase.FIRING, AlertPhase.ESCALATED),
        (AlertPhase.ESCALATED, AlertPhase.VERIFYING),
    ]
    assert all(transition.reason for transition in told)
    assert told[2].step == "rollback"


def test_the_same_log_gives_the_same_decisions() -> None:
    def play() -> list[object]:
        drive = Drive(rule_of(keep_firing_for="30s"))
        drive.run(0, 100, 0.3)
        drive.answer()
        drive.run(100, 300, 0.2)
        drive.run(300, 400, 0.001)
        return list(drive.effects)

    assert play() == play()


def test_at_most_one_act_and_one_notification_come_out_of_one_signal() -> None:
    drive = Drive(rule_of())
    drive.see(0, 0.5)
    effects = drive.see(10_000, 0.5)  # every step is due at once
    assert sum(isinstance(effect, Act) for effect in effects) == 1
    assert sum(isinstance(effect, Notify) for effect in effects) == 1


def test_an_open_incident_without_news_is_said_again_every_five_minutes() -> None:
    drive = Drive(rule_of(ladder=[]))
    drive.run(0, 610, 0.5)
    again = [effect.intent for effect in drive.said_again]
    assert [intent.at_us - EPOCH_US for intent in again] == [300_000_000, 600_000_000]
    (first,) = drive.intents
    for intent in again:
        assert (intent.incident_id, intent.revision) == (first.incident_id, first.revision)
        assert (intent.event, intent.news, intent.loud) == (NotifyEvent.TRIGGER, (), False)
    drive.run(610, 1_300, 0.001)
    assert drive.phase == "resolved"
    assert len(drive.said_again) == 2
