"""A rollout over a real flag file: its steps, its way back, and who may interfere."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from schemas.flag import FlagKey
from serving.errors import LooksError, RolloutError
from serving.flags.history import last_good
from serving.flags.lock import writer_lock
from serving.flags.store import FlagStore
from serving.gateway.first_flags import with_gateway_flags
from serving.rollout.drive import drive, step
from serving.rollout.machine import Metric, Outcome, RolloutPolicy, RolloutState, observe
from serving.rollout.sequential import Look
from serving.rollout.steer import KEPT, Steering
from tests.support.actions import NOW_US, promoted_flags

POLICY = RolloutPolicy(step_requests=1_000, step_s=10, shadow_s=10)
GOOD = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=10)
BAD = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=60)
SECOND = 1_000_000


class Scripted:
    """Looks from a list; the last is repeated."""

    def __init__(self, *looks: Look | Exception) -> None:
        self.looks = list(looks)
        self.spans: list[tuple[int, int]] = []

    def look(self, version: str, since_us: int, until_us: int) -> Mapping[Metric, Look]:
        assert version == "v3"
        found = self.looks.pop(0) if len(self.looks) > 1 else self.looks[0]
        if isinstance(found, Exception):
            raise found
        self.spans.append((since_us, until_us))
        return {Metric.ERRORS: found}


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    store = promoted_flags(tmp_path / "flags.json")
    store.update(lambda d: with_gateway_flags(d, limits=[], at_us=1))
    return store


def flags(store: FlagStore) -> tuple[str, str, str, str]:
    document = store.read()
    keys = (
        FlagKey.MODEL_VERSION,
        FlagKey.CANARY_VERSION,
        FlagKey.CANARY_PERCENT,
        FlagKey.SHADOW_PERCENT,
    )
    return tuple(document.flag(key).variant for key in keys)  # type: ignore[return-value]


def driven(store: FlagStore, looks: Scripted, **changes: Any) -> tuple[RolloutState, list[Any]]:
    steering = Steering(store)
    clock = {"us": NOW_US}
    seen: list[Any] = []

    def pause(seconds: float) -> None:
        clock["us"] += round(seconds * SECOND)

    given: dict[str, Any] = {
        "every_s": 10,
        "settle_s": 0,
        "now_us": lambda: clock["us"],
        "told": lambda state: seen.append((state.share, flags(store))),
        "pause": pause,
    }
    state = steering.begin("v3", NOW_US, POLICY, 10)
    seen.append((state.share, flags(store)))
    return drive(state, steering, looks, **(given | changes)), seen


def test_a_good_version_takes_over_step_by_step(store: FlagStore) -> None:
    looks = Scripted(GOOD)
    state, seen = driven(store, looks)
    assert state.outcome is Outcome.DONE
    assert seen == [
        ("shadow", ("v2", "v3", "0", "5")),
        ("5", ("v2", "v3", "5", "0")),
        ("25", ("v2", "v3", "25", "0")),
        ("50", ("v2", "v3", "50", "0")),
        ("100", ("v3", "none", "0", "0")),
    ]
    assert last_good(store.read().flag(FlagKey.MODEL_VERSION).history) == "v2"
    # What came between two looks is looked at once.
    assert [since for since, _ in looks.spans[1:]] == [until for _, until in looks.spans[:-1]]


def test_a_bad_version_goes_back_at_once(store: FlagStore) -> None:
    state, _ = driven(store, Scripted(GOOD, GOOD, BAD))
    assert state.outcome is Outcome.ABORTED
    assert state.reason.startswith("errors: ")
    assert flags(store) == ("v2", "none", "0", "0")
    assert Steering(store).read() == state


def test_a_step_is_held_for_requests_and_for_time(store: FlagStore) -> None:
    few = Look(stable=900, stable_bad=9, canary=400, canary_bad=4)
    state, seen = driven(store, Scripted(GOOD, few, few, few, GOOD))
    assert [share for share, _ in seen[:6]] == ["shadow", "5", "5", "5", "25", "50"]
    state = Steering(store).read() or state
    begun = state.model_copy(update={"outcome": Outcome.RUNNING, "step": 1, "step_at_us": NOW_US})
    early = observe(begun, {Metric.ERRORS: GOOD}, NOW_US + 9 * SECOND)
    assert early.step == 1


def test_a_suspicion_holds_the_step() -> None:
    state = RolloutState(
        version="v3",
        previous="v2",
        policy=POLICY,
        step=1,
        started_at_us=0,
        step_at_us=0,
        looked_at_us=0,
    )
    worse = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=19)
    held = observe(state, {Metric.ERRORS: worse}, 60 * SECOND)
    assert (held.step, held.outcome) == (1, Outcome.RUNNING)
    assert math.log(POLICY.suspicion) < held.evidence[Metric.ERRORS].log_value < POLICY.threshold
    assert observe(state, {Metric.ERRORS: GOOD}, 60 * SECOND).step == 2


def test_what_is_unknown_neither_speeds_up_nor_aborts() -> None:
    state = RolloutState(
        version="v3",
        previous="v2",
        policy=POLICY,
        step=1,
        started_at_us=0,
        step_at_us=0,
        looked_at_us=0,
    )
    after = observe(state, {}, 60 * SECOND)
    assert (after.step, after.outcome, after.evidence) == (1, Outcome.RUNNING, {})


def test_it_waits_while_the_store_is_away_and_says_so(store: FlagStore) -> None:
    looks = Scripted(LooksError("away"), LooksError("away"), GOOD)
    kept: list[str] = []

    def told(state: RolloutState) -> None:
        found = Steering(store).read()
        kept.append(found.trouble if found else "")

    state, _ = driven(store, looks, told=told)
    assert state.outcome is Outcome.DONE
    assert looks.spans[0][0] == NOW_US
    assert kept[:3] == ["away", "away", ""]


class Meanwhile(Scripted):
    """Something happens while the store is asked for the third time."""

    def __init__(self, happens: Callable[[], None]) -> None:
        super().__init__(GOOD)
        self._happens = happens
        self._asked = 0

    def look(self, version: str, since_us: int, until_us: int) -> Mapping[Metric, Look]:
        self._asked += 1
        if self._asked == 3:
            self._happens()
        return super().look(version, since_us, until_us)


def test_what_is_ended_during_a_look_stays_ended(store: FlagStore) -> None:
    looks = Meanwhile(lambda: void(Steering(store).abort("complaints", by="bob", now_us=NOW_US)))
    state, seen = driven(store, looks)
    assert (state.outcome, state.reason) == (Outcome.ABORTED, "complaints")
    assert seen[-1] == ("25", ("v2", "none", "0", "0"))
    assert Steering(store).read() == state


def test_a_flag_that_is_set_during_a_look_stays_set(store: FlagStore) -> None:
    def remediate() -> None:
        store.set_variant(FlagKey.CANARY_PERCENT, "0", by="executor", reason="errors", at_us=NOW_US)

    state, _ = driven(store, Meanwhile(remediate))
    assert state.outcome is Outcome.ABORTED
    assert "by executor: errors" in state.reason
    assert flags(store) == ("v2", "none", "0", "0")


def test_it_tries_again_when_the_flags_cannot_be_written(store: FlagStore) -> None:
    """A canary that is bad has to come back, if not now, then at the next look."""
    impatient = FlagStore(store.path, lock_timeout_s=0.02)
    locks: list[Any] = []

    def lock() -> None:
        locks.append(writer_lock(store.path))
        locks[0].__enter__()

    def told(state: RolloutState) -> None:
        if state.trouble and locks:
            assert "another writer" in state.trouble
            locks.pop().__exit__(None, None, None)

    looks = Meanwhile(lock)
    looks.looks = [GOOD, GOOD, BAD]
    state, _ = driven(impatient, looks, told=told)
    assert locks == []
    assert (state.outcome, flags(store)) == (Outcome.ABORTED, ("v2", "none", "0", "0"))
    assert looks.spans[-1][0] == looks.spans[-2][0]  # looked at again, counted once
    assert state.evidence[Metric.ERRORS].canary == 3_000


def void(_: object) -> None:
    """Drop a value."""


@pytest.mark.parametrize(
    ("key", "variant"), [(FlagKey.CANARY_PERCENT, "0"), (FlagKey.MODEL_VERSION, "v1")]
)
def test_nobodys_decision_is_overwritten(store: FlagStore, key: FlagKey, variant: str) -> None:
    """A remediation took the canary off, or somebody rolled back."""
    steering = Steering(store)
    state = steering.begin("v3", NOW_US, POLICY, 10)
    state = step(state, steering, Scripted(GOOD), NOW_US + 10 * SECOND)
    store.set_variant(key, variant, by="bob", reason="complaints", at_us=NOW_US)
    state = step(state, steering, Scripted(GOOD), NOW_US + 20 * SECOND)
    assert state.outcome is Outcome.ABORTED
    assert "bob: complaints" in state.reason
    version, _, percent, _ = flags(store)
    assert percent == "0"
    assert version == (variant if key is FlagKey.MODEL_VERSION else "v2")


def test_the_same_command_takes_it_up_again(store: FlagStore) -> None:
    steering = Steering(store)
    state = steering.begin("v3", NOW_US, POLICY, 10)
    later = step(state, steering, Scripted(GOOD), NOW_US + 10 * SECOND)
    assert Steering(store).begin("v3", NOW_US + 99, POLICY, 10) == later


def test_why_it_cannot_begin(store: FlagStore, tmp_path: Path) -> None:
    steering = Steering(store)
    for version, said in (("v9", "no version v9"), ("v2", "in force already")):
        with pytest.raises(RolloutError, match=said):
            steering.begin(version, NOW_US)
    steering.begin("v3", NOW_US)
    with pytest.raises(RolloutError, match="v3 is being rolled out"):
        steering.begin("v1", NOW_US)
    folder = tmp_path / "plain"
    folder.mkdir()
    with pytest.raises(RolloutError, match=r"ai\.canary\.percent"):
        Steering(promoted_flags(folder / "flags.json")).begin("v3", NOW_US)
    steering.path.write_text("{torn")
    with pytest.raises(RolloutError, match=r"rollout\.json"):
        steering.read()


def test_an_abort_may_name_what_it_means(store: FlagStore) -> None:
    steering = Steering(store)
    steering.begin("v3", NOW_US)
    with pytest.raises(RolloutError, match="v3 is being rolled out, not v1"):
        steering.abort("x", by="bob", now_us=NOW_US, version="v1")
    assert steering.abort("x", by="bob", now_us=NOW_US, version="v3").ended_at_us == NOW_US
    with pytest.raises(RolloutError, match="no rollout is under way"):
        steering.abort("x", by="bob", now_us=NOW_US)


def test_rollouts_before_are_kept_the_newest(store: FlagStore) -> None:
    steering = Steering(store)
    for number in range(KEPT + 3):
        steering.begin("v3", NOW_US + number)
        steering.abort(f"try {number}", by="bob", now_us=NOW_US + number)
    reasons = [state.reason for state in steering.past()]
    assert reasons == [f"try {number}" for number in range(KEPT + 1, 1, -1)]
    newest = steering.path.with_name(f"flags.rollout.{NOW_US + KEPT + 1:016d}.json")
    newest.write_text("{torn")
    assert [state.reason for state in steering.past()] == reasons[1:]


def test_a_hand_in_the_file_is_not_blamed_on_the_last_to_change_it(store: FlagStore) -> None:
    steering = Steering(store)
    state = steering.begin("v3", NOW_US)
    content = json.loads(store.path.read_bytes())
    content["flags"]["ai.shadow.percent"]["defaultVariant"] = "1"
    store.path.write_text(json.dumps(content))
    assert steering.disturbed(state) == "ai.shadow.percent was set to 1"


def test_whether_somebody_drives(store: FlagStore) -> None:
    steering = Steering(store)
    assert steering.driven() is False
    with steering.held():
        assert Steering(store).driven() is True
    assert steering.driven() is False


def test_one_drives_at_a_time(store: FlagStore) -> None:
    second = Steering(store).held()
    with Steering(store).held(), pytest.raises(RolloutError, match="another process"):
        second.__enter__()
