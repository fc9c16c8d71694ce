"""What may act, and when not."""

from __future__ import annotations

import pytest

from alerting.policy import Policy, target_of
from schemas.action import ActionKind, ActionRequested
from schemas.settings import AlertingSettings

US = 1_000_000
T = 1_700_000_000 * US


def request(
    action_id: str = "a", kind: ActionKind = ActionKind.ROLLBACK, **labels: str
) -> ActionRequested:
    return ActionRequested(
        schema_version=1,
        action_id=action_id,
        kind=kind,
        fingerprint="f",
        incident_id="i",
        rule="r",
        step="s",
        labels=labels or {"model": "llama", "model_version": "v2"},
        reason="test",
        verify_within_s=60,
        requested_at_us=T,
    )


def test_the_cooldown_is_per_kind_and_target_and_not_per_version() -> None:
    policy = Policy(cooldown_s=600).record(request(), T)
    back = request("b", model="llama", model_version="v1")
    assert "cooldown" in policy.decide(back, T + 599 * US).reason
    assert policy.decide(back, T + 600 * US).allowed
    assert policy.decide(request("c", model="other"), T).allowed
    assert policy.decide(request("d", ActionKind.FALLBACK), T).allowed


def test_the_cap_counts_all_actions_of_an_hour() -> None:
    policy = Policy(cooldown_s=0, actions_per_hour=2)
    policy = policy.record(request("a"), T).record(request("b"), T + 1_800 * US)
    third = request("c", model="another")
    assert "cap: 2" in policy.decide(third, T + 3_599 * US).reason
    assert policy.decide(third, T + 3_600 * US).allowed


def test_deciding_twice_decides_the_same_and_counts_once() -> None:
    policy = Policy(cooldown_s=600, actions_per_hour=1)
    assert policy.decide(request(), T).allowed
    policy = policy.record(request(), T)
    assert policy.decide(request(), T).allowed
    assert policy.record(request(), T + US) is policy


def test_what_is_forgotten_no_longer_matters() -> None:
    policy = Policy(cooldown_s=60)
    for hour in range(100):
        policy = policy.record(request(f"a{hour}"), T + hour * 3_600 * US)
    assert len(policy.recent) == 1


def test_an_undo_is_barred_by_the_kill_switch_alone() -> None:
    undo = request("a:undo", ActionKind.UNDO)
    full = Policy(actions_per_hour=0)
    assert not full.decide(request(), T).allowed
    assert full.decide(undo, T).allowed
    assert full.record(undo, T).recent == ()
    assert "kill switch" in full.model_copy(update={"frozen": True}).decide(undo, T).reason


def test_scaling_divides_cooldown_and_cap_window() -> None:
    policy = Policy(cooldown_s=600, actions_per_hour=1).scaled(60).record(request(), T)
    assert not policy.decide(request("b"), T + 9 * US).allowed
    assert not policy.decide(request("b"), T + 59 * US).allowed
    assert policy.decide(request("b"), T + 60 * US).allowed


def test_the_settings_make_the_policy() -> None:
    policy = Policy.from_settings(AlertingSettings(dry_run=True, actions_per_hour=3, cooldown_s=5))
    assert (policy.dry_run, policy.actions_per_hour, policy.cooldown_s) == (True, 3, 5)


def test_holding_is_a_copy() -> None:
    policy = Policy()
    assert policy.hold(True).lagging
    assert not policy.lagging
    assert policy.hold(False) is policy


@pytest.mark.parametrize("kind", ActionKind)
def test_every_kind_has_a_target(kind: ActionKind) -> None:
    assert target_of(kind, {"model": "m", "feature": "f"}).startswith(kind.value)
