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
    policy = Policy(cooldown_s=60, undone_cooldown_s=60)
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


def undo_of(action_id: str, **labels: str) -> ActionRequested:
    undo = request(f"{action_id}:undo", ActionKind.UNDO, **labels)
    return undo.model_copy(update={"undoes": action_id})


def test_what_was_taken_back_is_not_done_again_soon_and_so_two_versions_do_not_alternate() -> None:
    policy = Policy(cooldown_s=60, undone_cooldown_s=3_600).record(request("a"), T)
    policy = policy.record(undo_of("a"), T + 300 * US)
    again = request("b", model="llama", model_version="v1")
    assert "flapping" in policy.decide(again, T + 3_899 * US).reason
    assert policy.decide(again, T + 3_900 * US).allowed
    assert policy.decide(request("c", ActionKind.FALLBACK), T + 400 * US).allowed
    assert policy.decide(request("d", model="other"), T + 400 * US).allowed
    assert policy.record(undo_of("a"), T + 900 * US) is policy
    helped = Policy(cooldown_s=60).record(request("a"), T)
    assert helped.decide(again, T + 60 * US).allowed


def test_the_blast_radius_bounds_the_models_that_are_acted_on_not_the_actions() -> None:
    policy = Policy(cooldown_s=0, actions_per_hour=100, blast_radius=2)
    for number, model in enumerate(("a", "b", "a", "b")):
        assert policy.decide(request(f"x{number}", model=model), T).allowed
        policy = policy.record(request(f"x{number}", model=model), T)
    third = request("y", model="c")
    assert policy.decide(third, T).reason == "blast radius: 2 models in 1h, already a, b"
    assert policy.decide(request("z", model="a"), T).allowed
    assert policy.decide(third, T + 3_600 * US).allowed


def test_a_plan_counts_for_nothing() -> None:
    policy = Policy(actions_per_hour=1)
    plan = request("a:plan").model_copy(update={"plans": "a"})
    assert policy.record(plan, T) is policy


def test_the_kill_switch_names_who_turned_it() -> None:
    policy = Policy().freeze(True, "alice: game day")
    assert policy.decide(request(), T).reason == (
        "actions are frozen by alice: game day (kill switch)"
    )
    assert policy.freeze(False).decide(request(), T).allowed


def test_the_settings_make_the_policy() -> None:
    settings = AlertingSettings(
        dry_run=True, actions_per_hour=3, cooldown_s=5, undone_cooldown_s=7, blast_radius=2
    )
    policy = Policy.from_settings(settings)
    assert (policy.dry_run, policy.actions_per_hour, policy.cooldown_s) == (True, 3, 5)
    assert (policy.undone_cooldown_s, policy.blast_radius) == (7, 2)


def test_holding_is_a_copy() -> None:
    policy = Policy()
    assert policy.hold(True).lagging
    assert not policy.lagging
    assert policy.hold(False) is policy


@pytest.mark.parametrize("kind", ActionKind)
def test_every_kind_has_a_target(kind: ActionKind) -> None:
    assert target_of(kind, {"model": "m", "feature": "f"}).startswith(kind.value)
