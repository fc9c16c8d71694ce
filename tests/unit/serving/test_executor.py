"""The executor against a real broker, killed where it hurts."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

from schemas.action import (
    ActionKind,
    ActionMode,
    ActionRequested,
    ActionResult,
    ActionStatus,
    Granted,
    KillSwitch,
    action_message,
    proposal_of,
)
from schemas.command import CommandVia, DecideCommand
from schemas.flag import FlagKey, FlagValue
from schemas.topics import Topics
from serving.actuators.base import Plan
from serving.actuators.freeze import freeze, thaw
from serving.actuators.rollback import Rollback
from serving.executor import run_executor
from serving.flags.store import FlagStore
from tests.support.actions import NOW_US, asked, promoted_flags
from tests.support.broker import Broker, create_topics, free_port, read_all, running_broker
from tests.support.waiting import until
from tests.unit.serving.executor_process import settings_of

TOPICS = [Topics.ACTIONS, Topics.FLAGS, Topics.COMMANDS]


async def send(bootstrap: str, *requests: ActionRequested | bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        for request in requests:
            value = request if isinstance(request, bytes) else request.to_json()
            await producer.send_and_wait(Topics.ACTIONS.name, value, key=b"fingerprint")


async def said(bootstrap: str) -> list[Any]:
    found = []
    for _, value in await read_all(bootstrap, Topics.ACTIONS.name):
        with suppress(ValueError):
            found.append(action_message.validate_json(value or b""))
    return found


async def results(bootstrap: str) -> list[ActionResult]:
    return [one for one in await said(bootstrap) if isinstance(one, ActionResult)]


async def kill_switches(bootstrap: str) -> list[tuple[str, str]]:
    found = [one for one in await said(bootstrap) if isinstance(one, KillSwitch)]
    return [(one.status, one.reason) for one in found]


async def flags(bootstrap: str, key: FlagKey) -> list[FlagValue]:
    records = await read_all(bootstrap, Topics.FLAGS.name)
    return [
        FlagValue.model_validate_json(value or b"") for k, value in records if k == key.encode()
    ]


@asynccontextmanager
async def executing(bootstrap: str, folder: Path) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(
        run_executor(settings_of(bootstrap, folder), stop, now_us=lambda: NOW_US)
    )
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 20)


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    return promoted_flags(tmp_path / "flags.json")


async def test_it_acts_and_reports(fresh_broker: Broker, store: FlagStore) -> None:
    bootstrap = fresh_broker.bootstrap
    await create_topics(bootstrap, TOPICS)
    await send(
        bootstrap,
        b"\xff not a message",
        asked(),
        asked(ActionKind.SCALE_UP, action_id="scale"),
        asked(ActionKind.UNDO, action_id="undo", undoes=asked().action_id),
    )
    async with executing(bootstrap, store.path.parent):

        async def three() -> list[ActionResult]:
            found = await results(bootstrap)
            return found if len(found) == 3 else []

        done, scale, undo = await until(three)
    assert (done.status, done.actuator, done.after["value"]) == ("applied", "rollback", "v1")
    assert scale.status is ActionStatus.REFUSED
    assert undo.status is ActionStatus.APPLIED
    assert store.read().flag(FlagKey.MODEL_VERSION).value == "v2"
    versions = [
        (v.variant, v.previous_variant) for v in await flags(bootstrap, FlagKey.MODEL_VERSION)
    ]
    assert versions == [("v2", "v1"), ("v1", "v2"), ("v2", "v1")]
    assert len(await flags(bootstrap, FlagKey.MODEL_PROVIDER)) == 1


async def test_flags_changed_by_hand_are_told(fresh_broker: Broker, store: FlagStore) -> None:
    bootstrap = fresh_broker.bootstrap
    await create_topics(bootstrap, TOPICS)
    async with executing(bootstrap, store.path.parent):
        await until(lambda: flags(bootstrap, FlagKey.MODEL_VERSION))
        text = store.path.read_text()
        store.path.write_text(text.replace('"defaultVariant": "v2"', '"defaultVariant": "v3"'))

        async def told() -> bool:
            return (await flags(bootstrap, FlagKey.MODEL_VERSION))[-1].variant == "v3"

        await until(told)
    history = store.read().flag(FlagKey.MODEL_VERSION).history
    assert [change.variant for change in history] == ["v1", "v2", "v3"]
    assert history[-2].known_good


async def test_it_waits_for_a_broker_that_is_down(store: FlagStore) -> None:
    port = free_port()
    async with executing(f"127.0.0.1:{port}", store.path.parent):
        await asyncio.sleep(0.3)
        with running_broker(port) as broker:
            await create_topics(broker.bootstrap, TOPICS)
            await send(broker.bootstrap, asked())
            assert (await until(lambda: results(broker.bootstrap)))[0].status == "applied"


async def test_it_stops_though_nobody_answers_its_commit(
    fresh_broker: Broker, store: FlagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the broker dies between a report and its commit: aiokafka would wait for ever."""
    asked_for = asyncio.Event()

    async def unanswered(*_: object) -> None:
        asked_for.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(AIOKafkaConsumer, "commit", unanswered)
    await create_topics(fresh_broker.bootstrap, TOPICS)
    await send(fresh_broker.bootstrap, asked())
    async with executing(fresh_broker.bootstrap, store.path.parent):
        await asyncio.wait_for(asked_for.wait(), 20)


async def test_it_stops_while_no_broker_answers(store: FlagStore) -> None:
    async with executing(f"127.0.0.1:{free_port()}", store.path.parent):
        await asyncio.sleep(0.1)


async def run_process(bootstrap: str, folder: Path, point: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "tests.unit.serving.executor_process",
        bootstrap,
        str(folder),
        point,
        cwd=Path(__file__).parents[3],
    )


@pytest.mark.parametrize("point", ["after_flag", "after_flag_value", "after_result"])
async def test_killed_it_neither_acts_twice_nor_forgets(
    fresh_broker: Broker, store: FlagStore, point: str
) -> None:
    bootstrap, folder = fresh_broker.bootstrap, store.path.parent
    await create_topics(bootstrap, TOPICS)
    await send(bootstrap, asked())
    killed = await run_process(bootstrap, folder, point)
    assert await killed.wait() == -signal.SIGKILL
    after_crash = store.path.read_bytes()
    assert store.read().flag(FlagKey.MODEL_VERSION).value == "v1"

    # A second request behind the first tells when the replay is over.
    await send(bootstrap, asked(ActionKind.SCALE_UP, action_id="end"))
    async with executing(bootstrap, folder):

        async def ended() -> bool:
            return any(r.action_id == "end" for r in await results(bootstrap))

        await until(ended)
    assert store.path.read_bytes() == after_crash
    told = [r for r in await results(bootstrap) if r.action_id == asked().action_id]
    assert [r.status for r in told] == ["applied"]
    assert (await flags(bootstrap, FlagKey.MODEL_VERSION))[-1].variant == "v1"


async def test_a_refusal_stays_one_after_a_crash(fresh_broker: Broker, store: FlagStore) -> None:
    """The flag file has no record of refusals; the log has."""
    bootstrap, folder = fresh_broker.bootstrap, store.path.parent
    await create_topics(bootstrap, TOPICS)
    await send(bootstrap, asked(labels={"model_version": "v3"}))
    killed = await run_process(bootstrap, folder, "after_result")
    assert await killed.wait() == -signal.SIGKILL
    store.set_variant(FlagKey.MODEL_VERSION, "v3", by="alice", reason="later", at_us=NOW_US)
    async with executing(bootstrap, folder):
        await send(bootstrap, asked(ActionKind.SCALE_UP, action_id="end"))

        async def two() -> list[ActionResult]:
            found = await results(bootstrap)
            return found if len(found) == 2 else []

        assert [r.action_id for r in await until(two)] == [asked().action_id, "end"]
    assert store.read().flag(FlagKey.MODEL_VERSION).value == "v3"


async def test_two_executors_act_once(fresh_broker: Broker, store: FlagStore) -> None:
    bootstrap, folder = fresh_broker.bootstrap, store.path.parent
    await create_topics(bootstrap, TOPICS)
    async with executing(bootstrap, folder), executing(bootstrap, folder):
        await send(bootstrap, asked(), asked(), asked(ActionKind.SCALE_UP, action_id="end"))

        async def ended() -> list[ActionResult]:
            found = await results(bootstrap)
            return found if any(r.action_id == "end" for r in found) else []

        told = [r for r in await until(ended) if r.action_id != "end"]
    assert len({r.to_json() for r in told}) == 1
    assert told[0].status is ActionStatus.APPLIED
    history = store.read().flag(FlagKey.MODEL_VERSION).history
    assert [change.variant for change in history] == ["v1", "v2", "v1"]


async def test_a_broker_that_hangs_before_the_report(
    fresh_broker: Broker, store: FlagStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    bootstrap = fresh_broker.bootstrap
    await create_topics(bootstrap, TOPICS)
    apply = Rollback.apply
    acted = asyncio.Event()

    async def apply_then_hang(self: Rollback, plan: Plan, result: ActionResult) -> ActionResult:
        done = await apply(self, plan, result)
        fresh_broker.pause()
        acted.set()
        return done

    monkeypatch.setattr(Rollback, "apply", apply_then_hang)
    async with executing(bootstrap, store.path.parent):
        await send(bootstrap, asked())
        await asyncio.wait_for(acted.wait(), 20)
        await asyncio.sleep(1.5)  # longer than the session timeout
        fresh_broker.resume()
        told = await until(lambda: results(bootstrap))
        await send(bootstrap, asked(ActionKind.SCALE_UP, action_id="end"))

        async def ended() -> list[ActionResult]:
            found = await results(bootstrap)
            return found if found[-1].action_id == "end" else []

        told = await until(ended)
    assert [r.action_id for r in told] == [asked().action_id, "end"]


EXPIRES_US = NOW_US + 600_000_000


def approval_of(plan: ActionResult, request: ActionRequested) -> tuple[DecideCommand, Granted]:
    """Return ann's yes to a plan, as a command and as what the request carries."""
    proposal = proposal_of(request, plan.reason, plan.inverse, (), EXPIRES_US)
    who: dict[str, Any] = {"by": "ann", "reason": "checked", "command_id": "c", "at_us": NOW_US}
    command = DecideCommand(
        schema_version=1,
        subject=request.action_id,
        incident_id=request.incident_id,
        proposal=proposal,
        approve=True,
        via=CommandVia.API,
        **who,
    )
    does, inverse = plan.reason, plan.inverse
    return command, Granted(
        proposal=proposal, does=does, inverse=inverse, expires_us=EXPIRES_US, **who
    )


async def test_it_plans_and_acts_only_once_a_yes_stands_on_the_commands_topic(
    fresh_broker: Broker, store: FlagStore
) -> None:
    bootstrap = fresh_broker.bootstrap
    await create_topics(bootstrap, TOPICS)
    request = asked(mode=ActionMode.REQUIRED)
    plan_id = f"{request.action_id}:plan"
    async with executing(bootstrap, store.path.parent):

        async def answers(count: int) -> list[ActionResult]:
            found = await results(bootstrap)
            return found if len(found) == count else []

        await send(bootstrap, asked(action_id=plan_id, plans=request.action_id))
        (plan,) = await until(lambda: answers(1))
        assert (plan.status, plan.reason) == ("planned", "ai.model.version: v2 -> v1")
        assert plan.inverse == {"flag": "ai.model.version", "variant": "v2"}
        assert store.read().flag(FlagKey.MODEL_VERSION).value == "v2"

        command, granted = approval_of(plan, request)
        forged = asked(action_id="forged", mode=ActionMode.REQUIRED, granted=granted)
        early = asked(action_id="early", mode=ActionMode.REQUIRED)
        await send(bootstrap, forged, early)
        told = await until(lambda: answers(3))
        assert [one.status for one in told[1:]] == ["refused"] * 2
        async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
            await producer.send_and_wait(Topics.COMMANDS.name, b"not a command")
            await producer.send_and_wait(Topics.COMMANDS.name, command.to_json())
        await send(bootstrap, request.model_copy(update={"granted": granted}))
        *_, done = await until(lambda: answers(4))
    assert done.status is ActionStatus.APPLIED
    assert store.read().flag(FlagKey.MODEL_VERSION).value == "v1"


async def test_it_tells_of_the_kill_switch_once_and_after_a_restart_only_what_is_new(
    fresh_broker: Broker, store: FlagStore
) -> None:
    bootstrap, folder = fresh_broker.bootstrap, store.path.parent
    await create_topics(bootstrap, TOPICS)

    async def told(count: int) -> list[tuple[str, str]]:
        found = await kill_switches(bootstrap)
        return found if len(found) >= count else []

    async with executing(bootstrap, folder):
        await until(lambda: told(1))
        freeze(folder, by="alice", reason="game day")
        await until(lambda: told(2))
    async with executing(bootstrap, folder):
        await send(bootstrap, asked())
        await until(lambda: results(bootstrap))
        thaw(folder)
        await until(lambda: told(3))
    expected = [("off", ""), ("on", "alice: game day"), ("off", "")]
    assert await kill_switches(bootstrap) == expected
