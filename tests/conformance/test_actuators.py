"""Every actuator keeps the same promises."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from schemas.action import ActionKind, ActionRequested, ActionResult, ActionStatus
from schemas.flag import FlagKey
from schemas.settings import Settings
from serving.actuators import Actuator, Plan, Refusal, carry_out, levers
from serving.actuators.ledger import ActionLedger
from serving.actuators.webhook_scale import WebhookScale
from serving.errors import PreconditionError
from serving.flags.store import FlagStore
from serving.gateway.first_flags import with_gateway_flags
from tests.support.actions import NOW_US, asked, promoted_flags
from tests.support.systems import (
    Adapters,
    Kubernetes,
    LiteLLM,
    System,
    Webhook,
    running_system,
)


@dataclass
class Lever:
    """An actuator over real state in which it can act, and a look at that state."""

    make: Callable[[], Actuator]
    kind: ActionKind
    labels: dict[str, str]
    state: Callable[[], bytes]
    meddle: Callable[[], None]
    """Somebody else changes what the lever changes."""
    fail: Callable[[], None]
    """From now on nothing can be read."""
    lose: Callable[[], None]
    """From now on changes are lost."""
    writes: Callable[[], int]

    @property
    def actuator(self) -> Actuator:
        return self.make()

    def asked(self, **changes: Any) -> ActionRequested:
        return asked(**({"kind": self.kind, "labels": self.labels} | changes))

    async def act(self, **changes: Any) -> ActionResult:
        return await carry_out(self.make(), self.asked(**changes), now_us=NOW_US, executor="test")


LABELS = {"provider": "vllm", "model": "sim", "model_version": "v2"}
FLAGS = {
    ActionKind.ROLLBACK: LABELS,
    ActionKind.FALLBACK: LABELS,
    ActionKind.RATE_LIMIT: LABELS,
    ActionKind.CANARY_OFF: LABELS | {"model_version": "v3"},
    ActionKind.CHAIN_ON: LABELS,
    ActionKind.CHAIN_OFF: LABELS | {"provider": "backup"},
}
KUBERNETES = {
    "namespace": "prod",
    "deployment": "llm",
    "token": Kubernetes.TOKEN,
    "serves": {"provider": "vllm"},
}
LITELLM = {
    "master_key": LiteLLM.KEY,
    "provider": "vllm",
    "model": "sim",
    "fallback_models": ["other"],
    "key_hash": "hash-1",
}
WEBHOOK = {"secret": Webhook.SECRET.decode(), "serves": {"provider": "vllm"}}
REMOTE: dict[str, tuple[ActionKind, type[System], str, str, dict[str, Any]]] = {
    "kubernetes_scale": (ActionKind.SCALE_UP, Kubernetes, "kubernetes", "api_url", KUBERNETES),
    "kubernetes_undo": (ActionKind.ROLLOUT_UNDO, Kubernetes, "kubernetes", "api_url", KUBERNETES),
    "webhook_scale": (ActionKind.SCALE_UP, Webhook, "webhook", "url", WEBHOOK),
    "adapter_unload": (ActionKind.UNLOAD_ADAPTER, Adapters, "adapters", "base_url", {}),
    "litellm_fallback": (ActionKind.FALLBACK, LiteLLM, "litellm", "base_url", LITELLM),
    "litellm_limit": (ActionKind.RATE_LIMIT, LiteLLM, "litellm", "base_url", LITELLM),
}


def settings_for(name: str, url: str) -> Settings:
    _, _, section, key, rest = REMOTE[name]
    path = "/scale" if name == "webhook_scale" else ""
    return Settings(actuators={section: {**rest, key: url + path}})


def test_every_actuator_is_here(tmp_path: Path) -> None:
    store = FlagStore(tmp_path / "flags.json")
    assert list(levers(store, Settings())) == list(FLAGS)
    for name in REMOTE:
        own = levers(store, settings_for(name, "http://127.0.0.1:1"))
        assert own[REMOTE[name][0]].name == name
        assert own.keys() >= FLAGS.keys()


def flag_lever(folder: Path, kind: ActionKind, monkeypatch: pytest.MonkeyPatch) -> Lever:
    store = promoted_flags(folder / "flags.json")
    store.update(lambda d: with_gateway_flags(d, limits=["normal", "tight"], at_us=1))
    for key, variant in ((FlagKey.CANARY_VERSION, "v3"), (FlagKey.CANARY_PERCENT, "5")):
        store.set_variant(key, variant, by="alice", reason="", at_us=2)
    if kind is ActionKind.CHAIN_ON:
        store.set_variant(FlagKey.FALLBACK_ENABLED, "off", by="alice", reason="", at_us=3)
    flag = levers(store, Settings())[kind].key  # type: ignore[attr-defined]
    start = store.read().revision

    def meddle() -> None:
        document = store.read()
        present = document.flag(flag).variant
        other = next(name for name in document.flag(flag).variants if name != present)
        store.set_variant(flag, other, by="bob", reason="by hand", at_us=NOW_US)

    return Lever(
        make=lambda: levers(FlagStore(store.path), Settings())[kind],
        kind=kind,
        labels=FLAGS[kind],
        state=store.path.read_bytes,
        meddle=meddle,
        fail=lambda: store.path.write_bytes(store.path.read_bytes()[:-40]) and None,
        lose=lambda: monkeypatch.setattr("serving.flags.store.replace_file", lambda *_, **__: None),
        writes=lambda: store.read().revision - start,
    )


def remote_lever(folder: Path, name: str, system: System) -> Lever:
    kind = REMOTE[name][0]

    def make() -> Actuator:
        lever = levers(FlagStore(folder / "flags.json"), settings_for(name, system.url))[kind]
        if isinstance(lever, WebhookScale):
            lever._now_s = lambda: Webhook.NOW_S
        return lever

    return Lever(
        make=make,
        kind=kind,
        labels=LABELS,
        state=system.state,
        meddle=system.meddle,
        fail=lambda: setattr(system, "down", True),
        lose=lambda: setattr(system, "loses", True),
        writes=lambda: system.writes,
    )


@pytest.fixture(params=[*FLAGS, *REMOTE], ids=str)
async def lever(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Lever]:
    async with AsyncExitStack() as stack:
        if request.param in REMOTE:
            system = REMOTE[request.param][1]()
            await stack.enter_async_context(running_system(system))
            yield remote_lever(tmp_path, request.param, system)
        else:
            yield flag_lever(tmp_path, request.param, monkeypatch)


def without_revision(state: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in state.items() if key != "revision"}


async def test_a_plan_has_no_effect(lever: Lever) -> None:
    before = lever.state()
    plan = await lever.actuator.plan(lever.asked(), NOW_US)
    assert isinstance(plan, Plan)
    assert plan.before != plan.after
    assert plan.summary
    assert lever.state() == before


async def test_a_dry_run_has_no_effect(lever: Lever) -> None:
    before = lever.state()
    result = await lever.act(dry_run=True)
    assert result.status is ActionStatus.DRY_RUN
    assert without_revision(result.after) != without_revision(result.before)
    assert not result.inverse
    assert lever.state() == before


async def test_it_acts_and_reads_back(lever: Lever) -> None:
    before = lever.state()
    result = await lever.act()
    assert result.status is ActionStatus.APPLIED, result.reason
    assert lever.state() != before
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
        lever.actuator, lever.asked(), now_us=NOW_US + 1, executor="the one after the crash"
    )
    assert again == first
    assert lever.state() == after


async def test_the_inverse_restores(lever: Lever) -> None:
    done = await lever.act()
    undo = lever.asked(action_id="undo-1", kind=ActionKind.UNDO, undoes=done.action_id)
    undone = await carry_out(lever.actuator, undo, now_us=NOW_US + 1, executor="test", undo=done)
    assert undone.status is ActionStatus.APPLIED, undone.reason
    assert without_revision(undone.after) == without_revision(done.before)
    redo = lever.asked(action_id="undo-2", kind=ActionKind.UNDO, undoes="undo-1")
    redone = await carry_out(lever.actuator, redo, now_us=NOW_US + 2, executor="test", undo=undone)
    assert redone.status is ActionStatus.APPLIED, redone.reason
    assert without_revision(redone.after) == without_revision(done.after)


async def test_no_inverse_over_a_later_change(lever: Lever) -> None:
    done = await lever.act()
    lever.meddle()
    before = lever.state()
    undo = lever.asked(action_id="undo-1", kind=ActionKind.UNDO, undoes=done.action_id)
    result = await carry_out(lever.actuator, undo, now_us=NOW_US + 2, executor="test", undo=done)
    assert result.status is ActionStatus.REFUSED
    assert "changed since" in result.reason
    assert lever.state() == before


async def test_a_failed_precondition_changes_no_byte(lever: Lever) -> None:
    plan = await lever.actuator.plan(lever.asked(), NOW_US)
    assert isinstance(plan, Plan)
    result = (await lever.act(dry_run=True)).model_copy(update={"status": ActionStatus.APPLIED})
    lever.meddle()
    before = lever.state()
    with pytest.raises(PreconditionError):
        await lever.actuator.apply(plan, result)
    assert lever.state() == before
    assert await lever.actuator.recorded(plan.action_id) is None


async def test_a_refusal_changes_no_byte_and_has_a_reason(lever: Lever) -> None:
    before = lever.state()
    result = await lever.act(labels={"provider": "elsewhere", "model": "e", "model_version": "v0"})
    assert result.status is ActionStatus.REFUSED
    assert "elsewhere" in result.reason or "v0" in result.reason
    assert lever.state() == before


async def test_an_unnamed_culprit_is_refused(lever: Lever) -> None:
    assert isinstance(await lever.actuator.plan(lever.asked(labels={}), NOW_US), Refusal)


async def test_two_at_once_act_once(lever: Lever) -> None:
    writes = lever.writes()
    results = await asyncio.gather(
        *(
            carry_out(lever.make(), lever.asked(), now_us=NOW_US, executor=f"executor-{n}")
            for n in range(4)
        )
    )
    assert len({result.executor for result in results}) == 1
    assert all(result.status is ActionStatus.APPLIED for result in results)
    assert lever.writes() == writes + 1


async def test_two_incidents_at_once_act_once(lever: Lever) -> None:
    results = await asyncio.gather(
        *(
            carry_out(
                lever.make(),
                lever.asked(action_id=f"incident-{n}"),
                now_us=NOW_US,
                executor="test",
            )
            for n in range(4)
        )
    )
    statuses = sorted(result.status for result in results)
    assert statuses == ["applied", "refused", "refused", "refused"]


async def test_what_cannot_be_read_fails_without_an_exception(lever: Lever) -> None:
    lever.fail()
    before = lever.state()
    result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert result.reason
    assert lever.state() == before


async def test_a_write_that_is_lost_is_noticed(lever: Lever) -> None:
    lever.lose()
    result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert "not confirmed" in result.reason


@pytest.mark.parametrize("kind", FLAGS)
async def test_a_folder_that_cannot_be_written_fails(
    tmp_path: Path, kind: ActionKind, monkeypatch: pytest.MonkeyPatch
) -> None:
    lever = flag_lever(tmp_path, kind, monkeypatch)
    before = lever.state()

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("serving.flags.store.replace_file", full)
    result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert "No space left" in result.reason
    assert lever.state() == before


@pytest.mark.parametrize("name", REMOTE)
async def test_without_its_ledger_a_lever_does_nothing(tmp_path: Path, name: str) -> None:
    system = REMOTE[name][1]()
    async with running_system(system):
        (tmp_path / "flags.actions.json").write_text("{torn")
        lever = remote_lever(tmp_path, name, system)
        result = await lever.act()
    assert result.status is ActionStatus.FAILED
    assert "flags.actions.json" in result.reason
    assert system.writes == 0


@pytest.mark.parametrize("name", REMOTE)
@pytest.mark.parametrize("when", ["before", "after"])
async def test_after_a_crash_it_is_known_whether_it_took_effect(
    tmp_path: Path, name: str, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The executor dies with the action begun: before the change, or before it is entered."""
    system = REMOTE[name][1]()
    async with running_system(system):
        lever = remote_lever(tmp_path, name, system)

        class Crash(BaseException):
            pass

        async def die(*_: object) -> None:
            raise Crash

        with monkeypatch.context() as patch:
            target = type(lever.actuator) if when == "before" else ActionLedger
            patch.setattr(target, "change" if when == "before" else "finish", die)
            with pytest.raises(Crash):
                await lever.act()
        assert system.writes == (0 if when == "before" else 1)
        result = await lever.act()
        assert result.status is ActionStatus.APPLIED
        assert system.writes == 1
