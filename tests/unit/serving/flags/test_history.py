"""What a history says about the version to go back to, after whatever happened."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from serving.flags.history import HISTORY_LIMIT, Change, ChangeKind, extend, last_good, mark

steps = st.lists(
    st.tuples(st.sampled_from(["v1", "v2", "v3", "v4"]), st.sampled_from(list(ChangeKind))),
    max_size=30,
)


def history_of(*changes: tuple[str, ChangeKind]) -> tuple[Change, ...]:
    history: tuple[Change, ...] = ()
    for revision, (variant, kind) in enumerate(changes):
        change = Change(
            variant=variant, kind=kind, revision=revision, at_us=revision, by="x", reason="y"
        )
        history = extend(history, change)
    return history


PROMOTION, ROLLBACK = ChangeKind.PROMOTION, ChangeKind.ROLLBACK
START = ("v1", ChangeKind.CREATED)


@given(steps)
def test_the_target_is_never_in_force_and_never_bad(
    changes: list[tuple[str, ChangeKind]],
) -> None:
    history = history_of(*changes)
    target = last_good(history)
    assert len(history) == len(changes)
    if target is None:
        return
    assert target != history[-1].variant
    newest = next(change for change in reversed(history) if change.variant == target)
    assert newest.known_good is True


@given(steps)
def test_what_was_rolled_back_last_is_no_target(changes: list[tuple[str, ChangeKind]]) -> None:
    history = history_of(START, *changes)
    bad = history[-1].variant
    back = "v1" if bad != "v1" else "v2"
    history = extend(
        history,
        Change(variant=back, kind=ROLLBACK, revision=99, at_us=99, by="x", reason="y"),
    )
    assert last_good(history) != bad


def test_the_nearest_good_one_is_taken() -> None:
    history = history_of(START, ("v2", PROMOTION), ("v3", PROMOTION))
    assert last_good(history) == "v2"
    assert last_good(history_of(START, ("v2", PROMOTION))) == "v1"
    assert last_good(history_of(START)) is None
    assert last_good(()) is None


def test_a_bad_one_in_between_is_skipped() -> None:
    history = history_of(
        START, ("v2", PROMOTION), ("v1", ROLLBACK), ("v3", PROMOTION), ("v4", PROMOTION)
    )
    assert last_good(history) == "v3"
    assert last_good(mark(history, "v3", known_good=False)) == "v1"


def test_a_promotion_does_not_vouch_for_what_is_known_to_be_bad() -> None:
    history = mark(history_of(START, ("v2", PROMOTION)), "v2", known_good=False)
    assert last_good(extend(history, history[-1].model_copy(update={"variant": "v3"}))) == "v1"


def test_old_changes_are_forgotten() -> None:
    history = history_of(*[(f"v{n % 2}", PROMOTION) for n in range(3 * HISTORY_LIMIT)])
    assert len(history) == HISTORY_LIMIT
    assert last_good(history) == "v0"
