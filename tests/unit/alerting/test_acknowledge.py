"""Somebody looks after it, and alerts that come and go."""

from __future__ import annotations

from typing import Any

from alerting.machine import on_acknowledge
from schemas.alert import AlertPhase
from tests.unit.alerting.drive import EPOCH_US, Drive, rule_of

S = 1_000_000
LADDER: list[dict[str, Any]] = [
    {"name": "call", "after": "1m", "notify": "Call.", "unless_acknowledged": True},
    {"name": "rollback", "after": "2m", "act": "rollback", "verify_within": "5m"},
]


def acknowledge(drive: Drive, at_s: int, incident_id: str | None = None) -> int:
    state, effects = on_acknowledge(
        drive.rule,
        drive.state,
        incident_id or drive.state.incident_id or "",
        "ann",
        EPOCH_US + at_s * S,
        "on it",
    )
    drive._keep(state, effects)
    return len(effects)


def test_an_acknowledged_incident_says_who_and_holds_only_the_steps_that_say_so() -> None:
    drive = Drive(rule_of(ladder=LADDER))
    drive.run(0, 30, 0.5)
    assert acknowledge(drive, 31) == 2
    assert drive.phase == AlertPhase.ACKNOWLEDGED
    assert drive.intents[-1].news == ("acknowledged by ann: on it",)
    drive.run(30, 200, 0.5)
    assert [transition.step for transition in drive.transitions if transition.step] == ["rollback"]
    assert [act.step for act in drive.acts] == ["rollback"]


def test_only_the_open_incident_is_acknowledged_and_once() -> None:
    drive = Drive(rule_of(ladder=[]))
    assert acknowledge(drive, 0, "none") == 0
    drive.see(0, 0.5)
    assert acknowledge(drive, 1, "another") == 0
    assert acknowledge(drive, 1) == 2
    assert acknowledge(drive, 2) == 0
    first = drive.state.incident_id
    drive.see(10, 0.0)
    assert drive.phase == "resolved"
    assert acknowledge(drive, 11) == 0
    drive.see(20, 0.5)
    assert drive.state.acknowledged is None
    assert acknowledge(drive, 21, first) == 0


def test_an_action_on_trial_stays_on_trial_when_acknowledged() -> None:
    drive = Drive(rule_of(ladder=LADDER))
    drive.run(0, 130, 0.5)
    drive.answer()
    acknowledge(drive, 131)
    assert drive.phase == AlertPhase.VERIFYING
    drive.run(190, 220, 0.0)
    assert drive.verdicts[0].recovered


def swings(drive: Drive, times: int) -> list[int]:
    """Let the value be bad for 10 s of every 60 s; return when the alert resolved."""
    resolved = []
    for at_s in range(0, times * 60, 10):
        drive.see(at_s, 0.5 if at_s % 60 == 0 else 0.0)
        if drive.transitions[-1].to_phase is AlertPhase.RESOLVED and (
            not resolved or drive.transitions[-1].at_us != EPOCH_US + resolved[-1] * S
        ):
            resolved.append((drive.transitions[-1].at_us - EPOCH_US) // S)
    return resolved


def test_what_flaps_becomes_one_incident_that_stays_open() -> None:
    damped = Drive(rule_of(ladder=[], keep_firing_for="20s"))
    assert swings(damped, 20) == [30, 90]
    assert damped.phase == "firing"
    assert len({intent.incident_id for intent in damped.intents}) == 3
    assert "flaps: 3 times within 1h; stays open until good for 2m" in damped.intents[-1].news
    damped.run(1_200, 1_280, 0.0)
    assert damped.phase == "resolved"


def test_damping_can_be_switched_off() -> None:
    drive = Drive(rule_of(ladder=[], keep_firing_for="20s", damp={"episodes": 0}))
    assert len(swings(drive, 20)) == 20


def test_a_flapping_past_is_forgotten_in_time() -> None:
    drive = Drive(rule_of(ladder=[], damp={"episodes": 2, "within": "5m"}))
    for at_s in (0, 600, 1_200):
        drive.see(at_s, 0.5)
        drive.see(at_s + 10, 0.0)
        assert drive.phase == "resolved"
