"""Every guard before an action, and what follows, through the worker's and executor's own code."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from alerting.policy import Policy
from alerting.rules import parse_rules
from schemas.action import (
    ActionDecided,
    ActionDecision,
    ActionKind,
    ActionMode,
    ActionProposed,
    ActionRequested,
    ActionResult,
    ActionStatus,
    KillSwitch,
)
from schemas.base import SCHEMA_VERSION
from schemas.command import CommandVia, DecideCommand
from schemas.flag import FlagKey
from schemas.settings import Settings
from schemas.signal import Signal, SignalName
from schemas.topics import Topic, Topics
from serving.actuators import levers
from serving.actuators.freeze import freeze, thaw
from serving.kill_switch import KillSwitchTeller
from serving.obey import Obedience
from streams import retry
from streams.alert import AlertAgent
from tests.support.actions import NOW_US, promoted_flags
from tests.support.streams import Outbox

START = NOW_US
RULES = """
version: 1
rules:
  - name: errors
    signal: error_rate
    over: 1m
    by: [provider, model, model_version]
    condition: "> 1%"
    keep_firing_for: 30s
    min_samples: 10
    severity: error
    summary: "{model} {model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
    ladder:
      - name: rollback
        after: 1m
        when: "> 5%"
        act: rollback
        verify_within: 5m
        min_samples: 100
        APPROVAL
"""
LABELS = {"provider": "vllm", "model": "sim", "model_version": "v2"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retry, "_FIRST_S", 0.0)
    monkeypatch.setattr(retry, "_LONGEST_S", 0.0)


class Loop:
    """An alert agent and an executor's obedience over a real flag file; seconds since ``START``."""

    def __init__(self, folder: Path, policy: Policy | None = None, approval: str = "") -> None:
        self.folder = folder
        self.flags = promoted_flags(folder / "flags.json", at_us=START - 60_000_000)
        self.policy = policy or Policy()
        self.rules = parse_rules(RULES.replace("APPROVAL", approval), "rules.yaml")
        self.table: dict[str, str] = {}
        self.outbox = Outbox()
        self.commands: list[DecideCommand] = []
        self.modes: dict[ActionKind, ActionMode] = {}
        self.retold: dict[str, Any] = {}
        self.restart()
        self._seen = 0
        self.teller = KillSwitchTeller(folder, "test", lambda: self.now_us, self._heard)
        self.teller.take_over(None)
        self.now_us = START

    def restart(self) -> None:
        """Let another worker take the table over."""
        self.agent = AlertAgent(self.rules, self.policy, self.table, self.outbox, max_lag_s=60)

    async def _heard(self, message: KillSwitch) -> None:
        await self.agent.on_kill_switch(message)

    async def see(
        self,
        start_s: int,
        stop_s: int | None = None,
        value: float | None = 0.2,
        samples: int = 1_000,
        lag_s: float = 0,
        **labels: str,
    ) -> None:
        """Evaluate every ten seconds; the executor answers what is asked at once."""
        for at_s in range(start_s, start_s + 1 if stop_s is None else stop_s, 10):
            self.now_us = START + at_s * 1_000_000
            shared = {"schema_version": SCHEMA_VERSION, "window_end_us": self.now_us}
            if value is not None:
                one = {"signal": SignalName.ERROR_RATE, "labels": {**LABELS, **labels}}
                rest = {"over_s": 60, "value": value, "samples": samples, "detector": "test"}
                await self.agent.on_signal(Signal.model_validate({**shared, **one, **rest}))
            lag = {"signal": SignalName.WATERMARK_LAG, "labels": {}, "over_s": 0, "samples": 1}
            late: dict[str, Any] = {**shared, **lag, "value": lag_s, "detector": "watermark"}
            await self.agent.on_signal(Signal.model_validate(late))
            await self.obey()

    async def obey(self) -> None:
        """Carry out what was asked since, as an executor does."""
        obedience = Obedience(
            levers(self.flags, Settings()),
            data_dir=self.folder,
            executor="test",
            request_age_s=900,
            modes=self.modes,
            decisions=self._decisions,
        )
        while self._seen < len(self.outbox.sent):
            _, _, message = self.outbox.sent[self._seen]
            self._seen += 1
            if isinstance(message, ActionRequested):
                result = await obedience.answer(message, self.now_us)
                result = result.model_copy(update=self.retold)
                self.outbox.sent.append((Topics.ACTIONS.name, "", result))
                await self.agent.on_result(result)

    async def _decisions(self, action_id: str) -> Sequence[DecideCommand]:
        return [one for one in self.commands if one.subject == action_id]

    async def decide(
        self, at_s: float, *, approve: bool = True, obeyed: bool = True, **changes: Any
    ) -> None:
        """Let ann decide on what was proposed last."""
        proposed = self.of(ActionProposed)[-1]
        fields = {
            "schema_version": SCHEMA_VERSION,
            "command_id": f"c-{at_s}",
            "by": "ann",
            "via": CommandVia.API,
            "reason": "checked",
            "at_us": START + round(at_s * 1e6),
            "subject": proposed.action_id,
            "incident_id": proposed.incident_id,
            "proposal": proposed.proposal,
            "approve": approve,
        }
        command = DecideCommand(**{**fields, **changes})
        self.commands.append(command)
        self.now_us = max(self.now_us, command.at_us)
        await self.agent.decide(command)
        if obeyed:
            await self.obey()

    def of(self, kind: type[Any]) -> list[Any]:
        return [one for one in self.outbox.of(Topics.ACTIONS) if isinstance(one, kind)]

    @property
    def asked(self) -> list[str]:
        return [f"{one.kind}" for one in self.of(ActionRequested)]

    @property
    def said(self) -> str:
        return "\n".join(one.reason for one in self.outbox.of(Topics.ALERTS))

    @property
    def version(self) -> Any:
        return self.flags.read().flag(FlagKey.MODEL_VERSION).value


async def test_without_a_guard_in_its_way_the_action_is_taken(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    await loop.see(0, 80)
    assert (loop.asked, loop.version) == (["rollback"], "v1")


async def test_too_few_samples_act_on_nothing(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    await loop.see(0, 300, samples=99)
    assert (loop.asked, loop.version) == ([], "v2")
    await loop.see(300, samples=100)
    assert loop.version == "v1"


async def test_late_numbers_act_on_nothing(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    await loop.see(0, 50)
    await loop.see(50, 300, lag_s=61)
    await loop.see(300)  # the lag that the evaluation before ended with holds it still
    assert (loop.asked, loop.version) == ([], "v2")
    await loop.see(310)
    assert loop.version == "v1"


async def test_missing_data_act_on_nothing(tmp_path: Path) -> None:
    loop = Loop(tmp_path)
    await loop.see(0)
    await loop.see(10, 600, value=None)
    assert (loop.asked, loop.version) == ([], "v2")


async def test_the_cooldown_holds_a_second_action_on_the_same_model(tmp_path: Path) -> None:
    loop = Loop(tmp_path, Policy(cooldown_s=600))
    await loop.see(0, 80)
    await loop.see(80, 300, model_version="v1")
    assert "refused by policy: cooldown: rollback(model=sim)" in loop.said
    assert (loop.asked, loop.version) == (["rollback"], "v1")


async def test_the_cap_bounds_the_actions_of_an_hour(tmp_path: Path) -> None:
    loop = Loop(tmp_path, Policy(actions_per_hour=2, blast_radius=100))
    for number in range(3):
        await loop.see(80 * number, 80 * number + 70, model=f"m{number}")
    assert "refused by policy: cap: 2 actions in 1h" in loop.said
    assert len(loop.asked) == 2


async def test_the_blast_radius_bounds_the_models_that_are_touched(tmp_path: Path) -> None:
    loop = Loop(tmp_path, Policy(actions_per_hour=100, blast_radius=2))
    for number in range(3):
        await loop.see(80 * number, 80 * number + 70, model=f"m{number}")
    assert "refused by policy: blast radius: 2 models in 1h, already m0, m1" in loop.said
    assert len(loop.asked) == 2


async def test_the_kill_switch_bars_ladder_and_approval_alike_by_one_file(tmp_path: Path) -> None:
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 80)
    freeze(tmp_path, by="alice", reason="game day")
    await loop.decide(80)  # before policy hears of it the executor refuses all the same
    assert "actions are frozen: alice: game day" in loop.of(ActionResult)[-1].reason
    await loop.teller.tell()
    loop.restart()
    await loop.see(80, 160, model="other")
    assert "refused by policy: actions are frozen by alice: game day" in loop.said
    assert (len(loop.of(ActionProposed)), loop.version) == (1, "v2")
    assert thaw(tmp_path)
    await loop.teller.tell()
    await loop.see(160, 240, model="third")
    assert loop.of(ActionProposed)[-1].labels["model"] == "third"


async def test_two_versions_do_not_alternate(tmp_path: Path) -> None:
    """Rolled back in vain, undone, and not rolled back again though it stays bad."""
    loop = Loop(tmp_path, Policy(cooldown_s=60))
    await loop.see(0, 500)
    assert (loop.asked, loop.version) == (["rollback", "undo"], "v2")
    assert "did not help within 5m" in loop.said
    pages = [one for one in loop.outbox.of(Topics.NOTIFICATIONS) if one.loud]
    assert any("undo asked for" in news for page in pages for news in page.news)
    await loop.see(500, 560, value=0.0)  # it resolves
    await loop.see(560, 1_500)
    assert "refused by policy: flapping: rollback(model=sim)" in loop.said
    assert (loop.asked, loop.version) == (["rollback", "undo"], "v2")


async def test_an_approved_action_is_taken_once_and_judged(tmp_path: Path) -> None:
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 300)
    (proposed,) = loop.of(ActionProposed)
    assert proposed.does == "ai.model.version: v2 -> v1"
    assert proposed.inverse == {"flag": "ai.model.version", "variant": "v2"}
    assert loop.version == "v2"
    loop.restart()
    await loop.decide(300)
    assert loop.version == "v1"
    for again in (301, 302):
        await loop.decide(again)
    applied = [one for one in loop.of(ActionResult) if one.status is ActionStatus.APPLIED]
    assert len(applied) == 1
    statuses = [one.status for one in loop.of(ActionDecided)]
    assert statuses == [ActionDecision.APPROVED] + [ActionDecision.IGNORED] * 2
    await loop.see(310, 700)
    assert loop.asked[-1] == "undo"
    assert loop.version == "v2"


MESSAGES = 3
"""Sends of one approval: decision and request, transition, notification."""


class KilledError(BaseException):
    """The worker is no more; nothing catches it, and nothing after it is done."""


@pytest.mark.parametrize("answered", [False, True])
@pytest.mark.parametrize("sent", range(MESSAGES + 1))
async def test_killed_while_it_carries_an_approval_out_it_acts_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sent: int, answered: bool
) -> None:
    """At every point: after so many sends, before the alert's state is safe.

    The executor has ``answered`` before the next worker decides again, or has not.
    """
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 80)
    send, left = Outbox.send_many, sent

    async def send_some(outbox: Outbox, topic: Topic, items: Any) -> list[int]:
        nonlocal left
        if not left:
            raise KilledError
        left -= 1
        return await send(outbox, topic, items)

    with monkeypatch.context() as patch:
        patch.setattr(Outbox, "send_many", send_some)
        try:
            await loop.decide(90, obeyed=False)
        except KilledError:
            assert sent < MESSAGES
        else:
            assert sent == MESSAGES
    if answered:
        await loop.obey()
    loop.restart()
    await loop.agent.decide(loop.commands[-1])
    await loop.obey()
    history = loop.flags.read().flag(FlagKey.MODEL_VERSION).history
    assert [change.variant for change in history] == ["v1", "v2", "v1"]
    approved = [one for one in loop.of(ActionRequested) if one.granted is not None]
    assert len({one.to_json() for one in approved}) == 1
    assert {one.status for one in loop.of(ActionDecided)} >= {ActionDecision.APPROVED}
    await loop.see(100, 500)  # in force in vain: it is judged, and taken back
    assert (loop.asked[-1], loop.version) == ("undo", "v2")


async def test_a_rejection_and_an_expiry_leave_everything_as_it_is(tmp_path: Path) -> None:
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 80)
    await loop.decide(90, approve=False)
    await loop.see(90, 3_000)
    assert "rejected by ann: checked" in loop.said
    (tmp_path / "b").mkdir()
    late = Loop(tmp_path / "b", approval="approval: required")
    await late.see(0, 80)
    await late.see(80, 2_000)
    await late.decide(2_000)
    assert late.of(ActionDecided)[0].status is ActionDecision.EXPIRED
    assert "expired" in late.of(ActionDecided)[-1].reason
    assert loop.version == late.version == "v2"


async def test_an_approval_acts_on_no_old_numbers(tmp_path: Path) -> None:
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 80)
    await loop.decide(140)  # windows have not closed for more than a minute
    assert "numbers are late" in loop.of(ActionDecided)[-1].reason
    assert loop.version == "v2"
    await loop.see(140)
    await loop.decide(141)
    assert loop.version == "v1"


async def test_a_decision_on_what_nobody_knows_is_recorded_and_does_nothing(tmp_path: Path) -> None:
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 80)
    await loop.decide(90, subject="0000-1:rollback")
    last = loop.of(ActionDecided)[-1]
    assert (last.status, last.by) == (ActionDecision.IGNORED, "ann")
    assert last.reason == "no such action was proposed"


async def test_what_was_approved_is_done_or_nothing(tmp_path: Path) -> None:
    """Between the plan and the approval the state has come to be another."""
    loop = Loop(tmp_path, approval="approval: required")
    loop.retold = {"reason": "ai.model.version: v2 -> v0"}
    await loop.see(0, 80)
    loop.retold = {}
    await loop.decide(90)
    refused = loop.of(ActionResult)[-1]
    assert refused.status is ActionStatus.REFUSED
    assert refused.reason == (
        "what was approved no longer stands: it would be ai.model.version: v2 -> v1 now"
    )
    assert loop.version == "v2"


async def test_a_forged_request_is_refused_by_the_executor(tmp_path: Path) -> None:
    loop = Loop(tmp_path, approval="approval: required")
    await loop.see(0, 80)
    proposed = loop.of(ActionProposed)[-1]
    plan = loop.of(ActionRequested)[-1]
    await loop.decide(90, proposal="0" * 32)  # a decision that does not count
    forged = plan.model_copy(update={"action_id": proposed.action_id, "plans": None})

    async def answer(request: ActionRequested) -> ActionResult:
        seen = len(loop.of(ActionResult))
        loop.outbox.sent.append((Topics.ACTIONS.name, "", request))
        await loop.obey()
        (result,) = loop.of(ActionResult)[seen:]
        assert isinstance(result, ActionResult)
        return result

    assert "the request has none" in (await answer(forged)).reason
    granted = {
        "proposal": proposed.proposal,
        "does": proposed.does,
        "inverse": proposed.inverse,
        "approvers": proposed.approvers,
        "expires_us": proposed.expires_us,
        "by": "ann",
        "reason": "checked",
        "command_id": "c-90",
        "at_us": START,
    }
    lie = ActionRequested.model_validate({**forged.model_dump(), "granted": granted})
    assert "no approval by ann stands on llm.commands" in (await answer(lie)).reason
    other = lie.model_copy(update={"labels": {**LABELS, "model": "other"}})
    assert "not what was approved" in (await answer(other)).reason
    free = forged.model_copy(update={"mode": ActionMode.AUTOMATIC})
    loop.modes = {ActionKind.ROLLBACK: ActionMode.REQUIRED}  # the executor's own setting
    assert "not approved" in (await answer(free)).reason
    loop.modes = {ActionKind.ROLLBACK: ActionMode.DRY_RUN}
    assert (await answer(free)).status is ActionStatus.DRY_RUN
    await loop.decide(91, approve=False)
    await loop.decide(92, command_id="c-90")
    loop.modes = {}
    assert "it was rejected by ann" in (await answer(lie)).reason
    assert loop.version == "v2"


async def test_the_kill_switch_is_told_when_it_turns_and_by_who_owns_the_topic(
    tmp_path: Path,
) -> None:
    told: list[KillSwitch] = []

    async def send(message: KillSwitch) -> None:
        told.append(message)

    teller = KillSwitchTeller(tmp_path, "one", lambda: START, send)
    await teller.tell()
    assert told == []
    teller.take_over(None)
    await asyncio.gather(teller.tell(), teller.tell())
    freeze(tmp_path, by="alice", reason="game day")
    await teller.tell()
    assert [(one.status, one.reason) for one in told] == [("off", ""), ("on", "alice: game day")]
    after = KillSwitchTeller(tmp_path, "two", lambda: START, send)
    after.take_over(told[-1])
    await after.tell()
    teller.leave()
    thaw(tmp_path)
    await teller.tell()
    assert len(told) == 2
    await after.tell()
    assert told[-1].status == "off"
