"""When rollback acts, and every reason for which it does not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from schemas.flag import FlagKey
from serving.actuators.base import Refusal
from serving.actuators.rollback import decide_rollback
from serving.flags.document import FlagDocument
from serving.flags.history import ChangeKind
from serving.flags.initial import initial_document
from serving.flags.store import FlagStore
from tests.support.actions import HOUR_US, NOW_US, asked, promoted_flags

DAY_S = 86_400.0


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    return promoted_flags(tmp_path / "flags.json")


def decide(document: FlagDocument, now_us: int = NOW_US, version: str = "v2") -> str:
    request = asked(labels={"model_version": version})
    decision = decide_rollback(document, request, now_us, DAY_S)
    return f"refused: {decision.reason}" if isinstance(decision, Refusal) else decision


def set_to(store: FlagStore, variant: str) -> FlagDocument:
    return store.set_variant(
        FlagKey.MODEL_VERSION, variant, by="alice", reason="by hand", at_us=NOW_US
    )


def switched(document: FlagDocument, variant: str, kind: ChangeKind) -> FlagDocument:
    return document.switched(
        FlagKey.MODEL_VERSION, variant, kind=kind, at_us=NOW_US, by="test", reason="test"
    )


def test_it_returns_to_what_was_in_force(store: FlagStore) -> None:
    assert decide(store.read()) == "v1"


def test_no_promotion() -> None:
    fresh = initial_document(providers=["vllm"], versions=["v2"], at_us=NOW_US)
    assert "there was no promotion" in decide(fresh)


def test_already_rolled_back(store: FlagStore) -> None:
    document = switched(store.read(), "v1", ChangeKind.ROLLBACK)
    assert "somebody has acted already" in decide(document)
    assert "last good version already" in decide(document, version="v1")


def test_an_old_promotion_is_not_blamed(store: FlagStore) -> None:
    assert decide(store.read(), now_us=NOW_US + 22 * HOUR_US) == "v1"
    assert "promoted 25.0 h ago" in decide(store.read(), now_us=NOW_US + 24 * HOUR_US)


def test_a_version_that_was_rolled_back_is_no_target(store: FlagStore) -> None:
    document = switched(store.read(), "v1", ChangeKind.ROLLBACK)
    document = switched(document, "v3", ChangeKind.PROMOTION)
    assert decide(document, version="v3") == "v1"


def test_a_version_that_did_well_the_second_time_is_a_target(store: FlagStore) -> None:
    document = switched(store.read(), "v1", ChangeKind.ROLLBACK)
    document = switched(document, "v2", ChangeKind.PROMOTION)
    document = switched(document, "v3", ChangeKind.PROMOTION)
    assert decide(document, version="v3") == "v2"


def test_a_rollback_by_hand_counts_as_one(store: FlagStore) -> None:
    document = set_to(store, "v1")
    assert document.flag(FlagKey.MODEL_VERSION).history[-1].kind is ChangeKind.ROLLBACK
    assert "last good version already" in decide(document, version="v1")


def test_after_an_undone_rollback_it_may_act_again(store: FlagStore) -> None:
    document = switched(store.read(), "v1", ChangeKind.ROLLBACK)
    document = switched(document, "v2", ChangeKind.UNDO)
    assert decide(document) == "v1"


def test_a_human_may_vouch_for_a_version(store: FlagStore) -> None:
    document = store.mark(FlagKey.MODEL_VERSION, "v2", known_good=True)
    assert "marked as good" in decide(document)


def test_a_human_may_condemn_the_one_before(store: FlagStore) -> None:
    document = store.mark(FlagKey.MODEL_VERSION, "v1", known_good=False)
    assert "no version before v2 is known to be good" in decide(document)


def test_a_version_that_is_gone_is_no_target(store: FlagStore) -> None:
    document = store.read()
    flag = replace(document.flag(FlagKey.MODEL_VERSION), variants={"v2": "v2"})
    assert "no version before" in decide(document.with_flag(flag))


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"enabled": False}, "is disabled"),
        ({"rest": {"targeting": {"if": [True, "v2"]}}}, "targeting rules"),
    ],
)
def test_a_flag_that_does_not_decide_alone(
    store: FlagStore, changes: dict[str, object], reason: str
) -> None:
    document = store.read()
    flag = replace(document.flag(FlagKey.MODEL_VERSION), **changes)  # type: ignore[arg-type]
    assert reason in decide(document.with_flag(flag))


def test_no_such_flag() -> None:
    assert "no flag" in decide(FlagDocument(flags={}))


@pytest.mark.parametrize(
    ("evidence", "said"),
    [
        ({"fallbacks": 40, "covered_s": 3_600}, "v1"),
        ({"fallbacks": 40, "covered_s": 3_601}, "may have been another"),
        ({"fallbacks": 0, "covered_s": 300}, "no label model_version"),
        ({"fallbacks": 40}, "no label model_version"),
        ({}, "no label model_version"),
    ],
)
def test_an_alert_about_fallbacks_blames_what_was_in_force_all_the_time(
    store: FlagStore, evidence: dict[str, float], said: str
) -> None:
    """`v2` was promoted an hour ago."""
    request = asked(labels={"model": "sim"}, evidence=evidence)
    decision = decide_rollback(store.read(), request, NOW_US, DAY_S)
    assert said in (decision.reason if isinstance(decision, Refusal) else decision)


def test_a_version_that_an_alert_about_fallbacks_names_has_to_be_in_force(store: FlagStore) -> None:
    evidence = {"fallbacks": 40.0, "covered_s": 300.0}
    request = asked(labels={"model_version": "v1"}, evidence=evidence)
    decision = decide_rollback(store.read(), request, NOW_US, DAY_S)
    assert isinstance(decision, Refusal)
    assert "somebody has acted already" in decision.reason
