"""Every actuator keeps the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.action import ActionKind, ActionRequested, ActionResult, ActionStatus
from schemas.flag import FlagKey
from schemas.settings import Settings
from serving.actuators import Actuator, Plan, Refusal, carry_out, levers
from serving.errors import PreconditionError
from serving.flags.store import FlagStore
from tests.support.actions import NOW_US, asked, promoted_flags


@dataclass
class Lever:
    """An actuator over real state in which it can act, and a look at that state."""

    actuator: Actuator
    kind: ActionKind
    path: Path
    another: Callable[[], Actuator]

    def asked(self, **changes: Any) -> ActionRequested:
        return asked(**({"kind": self.kind} | changes))

    def state(self) -> bytes:
        return self.path.read_bytes()

    def value(self, key: str) -> object:
        return FlagStore(self.path).read().flag(FlagKey(key)).value

    async def act(self, **changes: Any) -> ActionResult:
        return await carry_out(self.actuator, self.asked(**changes), now_us=NOW_US, executor="test")


KINDS = [ActionKind.ROLLBACK, ActionKind.FALLBACK]


def test_every_actuator_is_here(tmp_path: Path) -> None:
    assert list(levers(FlagStore(tmp_path / "flags.json"), Settings())) == KINDS


@pytest.fixture(params=KINDS)
def lever(request: pytest.FixtureRequest, tmp_path: Path) -> Lever:
    store = promoted_flags(tmp_path / "flags.json")

    def make() -> Actuator:
        return levers(FlagStore(store.path), Settings())[request.param]

    return Lever(make(), request.param, store.path, make)


async def test_a_plan_has_no_effect(lever: Lever) -> None:
    before = lever.state()
    plan = await lever.actuator.plan(lever.asked(), NOW_US)
    assert isinstance(plan, Plan)
    assert plan.before != plan.after
    assert lever.state() == before


async def test_a_dry_run_has_no_effect(lever: Lever) -> None:
    before = lever.state()
    result = await lever.act(dry_run=True)
    assert result.status is ActionStatus.DRY_RUN
    assert result.after["variant"] != result.before["variant"]
    assert not result.inverse
    assert lever.state() == before


async def test_it_acts_and_reads_back(lever: Lever) -> None:
    result = await lever.act()
    assert result.status is ActionStatus.APPLIED
    assert lever.value(result.after["flag"]) == result.after["value"] != result.before["value"]
    plan = Plan(
        action_id=result.action_id,
        actuator=result.actuator,
        summary="",
        before=result.before,
        after=result.after,
        inverse=result.inverse,
        expected="",
        at_us=NOW_US,
    )
    assert (await lever.actuator.read_back(plan)).confirmed
    assert await lever.actuator.recorded(result.action_id) == result


async def test_asking_twice_acts_once(lever: Lever) -> None:
    first = await lever.act()
    after = lever.state()
    assert await lever.act() == first
    assert lever.state() == after


async def test_asking_twice_acts_once_in_another_process(lever: Lever) -> None:
    first = await lever.act()
    after = lever.state()
    again = await carry_out(
        lever.another(), lever.asked(), now_us=NOW_US + 1, executor="the one after the crash"
    )
    assert again == first
    assert lever.state() == after


async def test_the_inverse_restores(lever: Lever) -> None:
    done = await lever.act()
    undo = lever.asked(action_id="undo-1", kind=ActionKind.UNDO, undoes=done.action_id)
    undone = await carry_out(lever.actuator, undo, now_us=NOW_US + 1, executor="test", undo=done)
    assert undone.status is ActionStatus.APPLIED
    assert lever.value(done.after["flag"]) == done.before["value"]
    redo = lever.asked(action_id="undo-2", kind=ActionKind.UNDO, undoes="undo-1")
    redone = await carry_out(lever.actuator, redo, now_us=NOW_US + 2, executor="test", undo=undone)
    assert redone.status is ActionStatus.APPLIED
    assert lever.value(done.after["flag"]) == done.after["value"]


async def test_no_inverse_over_a_later_change(lever: Lever) -> None:
    done = await lever.act()
    FlagStore(lever.path).set_variant(
        FlagKey(done.after["flag"]),
        done.before["variant"],
        by="bob",
        reason="by hand",
        at_us=NOW_US + 1,
    )
    before = lever.state()
    undo = lever.asked(action_id="undo-1", kind=ActionKind.UNDO, undoes=done.action_id)
    result = await carry_out(lever.actuator, undo, now_us=NOW_US + 2, executor="test", undo=done)
    assert result.status is ActionStatus.REFUSED
    assert "bob" in result.reason
    assert lever.state() == before


async def test_a_failed_precondition_changes_no_byte(lever: Lever) -> None:
    plan = await lever.actuator.plan(lever.asked(), NOW_US)
    assert isinstance(plan, Plan)
    FlagStore(lever.path).set_variant(
        FlagKey.FEATURE_ENABLED, "off", by="bob", reason="in between", at_us=NOW_US
    )
    before = lever.state()
    result = (await lever.act(dry_run=True)).model_copy(update={"status": ActionStatus.APPLIED})
    with pytest.raises(PreconditionError):
        await lever.actuator.apply(plan, result)
    assert lever.state() == before


async def test_a_refusal_changes_no_byte_and_has_a_reason(lever: Lever) -> None:
    before = lever.state()
    result = await lever.act(labels={"provider": "elsewhere", "model_version": "v0"})
    assert result.status is ActionStatus.REFUSED
    assert "elsewhere" in result.reason or "v0" in result.reason
    assert lever.state() == before


async def test_an_unnamed_culprit_is_refused(lever: Lever) -> None:
    assert isinstance(await lever.actuator.plan(lever.asked(labels={}), NOW_US), Refusal)


async def test_two_at_once_act_once(lever: Lever) -> None:
    results = await asyncio.gather(
        *(
            carry_out(lever.another(), lever.asked(), now_us=NOW_US, executor=f"executor-{n}")
            for n in range(4)
        )
    )
    assert len({result.executor for result in results}) == 1
    assert all(result.status is ActionStatus.APPLIED for result in results)
    assert FlagStore(lever.path).read().revision == results[0].after["revision"]


async def test_two_incidents_at_once_act_once(lever: Lever) -> None:
    results = await asyncio.gather(
        *(
            carry_out(
                lever.another(),
                lever.asked(action_id=f"incident-{n}"),
                now_us=NOW_US,
                executor="test",
            )
            for n in range(4)
        )
    )
    statuses = sorted(result.status for result in results)
    assert statuses == ["applied", "refused", "refused", "refused"]


async def test_a_torn_file_fails_without_an_exception(lever: Lever) -> None:
    torn = lever.state()[:-40]
    lever.path.write_bytes(torn)
    result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert str(lever.path) in result.reason
    assert lever.state() == torn


async def test_a_folder_that_cannot_be_written_fails(
    lever: Lever, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = lever.state()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.flags.store.replace_file", full)
    result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert "No space left" in result.reason
    assert lever.state() == before


async def test_a_write_that_is_lost_is_noticed(
    lever: Lever, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serving.flags.store.replace_file", lambda *_, **__: None)
    result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert "not confirmed" in result.reason
