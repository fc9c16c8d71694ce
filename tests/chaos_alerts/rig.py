"""A worker and an executor in one process that a test kills: the agents are the product's own.

Signals become decisions, decisions messages and actions, through the alert agent, the dispatcher,
the outbox of one receiver and the executor's ``Obedience`` over a real flag file. Files stand for
topics and tables (``changelog``), time is a number that grows.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import SecretStr
from rich.console import Console

from alerting.intent import NotificationIntent
from alerting.notifiers import Notifier, Receipt
from alerting.notifiers.alertmanager import AlertmanagerNotifier
from alerting.notifiers.pagerduty import PagerDutyNotifier
from alerting.notifiers.slack import SlackNotifier
from alerting.notifiers.slack_webhook import SlackWebhookNotifier
from alerting.notifiers.stdout import StdoutNotifier
from alerting.notifiers.webhook import WebhookNotifier
from alerting.policy import Policy
from alerting.rules import parse_rules
from schemas.action import ActionRequested, ActionResult, action_message
from schemas.base import SCHEMA_VERSION
from schemas.settings import GroupingSettings, Settings
from schemas.signal import Signal, SignalName
from schemas.topics import Topics
from serving.actuators import levers
from serving.flags.store import FlagStore
from serving.obey import Obedience
from streams.alert import AlertAgent
from streams.dispatch import DispatchAgent
from streams.mirror import MirrorAgent
from streams.notify import NotifyAgent
from streams.silences import Silences
from tests.chaos_alerts.changelog import FileTable, FileTopics, parsed
from tests.support.receivers import HMAC_KEY, HOOK, KEY, TOKEN

__all__ = ["NOTIFIERS", "POINTS", "START_US", "Run", "run_worker", "story"]

START_US: Final = 1_790_000_000_000_000
END_US: Final = START_US + 90_000_000
LABELS: Final = {"provider": "vllm", "model": "m", "model_version": "v2"}
POINTS: Final = (
    "before_intent",
    "after_intent",
    "before_send",
    "answer_lost",
    "after_2xx",
    "after_sent",
)
"""Before the message is in the outbox, after it; when the lease is written and nothing was sent;
when the receiver has it and its answer is lost; when the answer was read; when it is noted as sent.
"""

NOTIFIERS: Final = (
    "slack",
    "slack-webhook",
    "pagerduty",
    "alertmanager",
    "webhook",
    "stdout",
)
RULES: Final = """
version: 1
rules:
  - name: errors
    signal: error_rate
    over: 10s
    by: [provider, model, model_version]
    condition: "> 1%"
    keep_firing_for: 20s
    min_samples: 10
    severity: error
    summary: "{model} {model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
    ladder:
      - name: rollback
        after: 20s
        act: rollback
        verify_within: 5m
"""
_STEP_US: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Run:
    """One life of the worker: whom it tells, and where it dies (nowhere with an empty point).

    A ``careless`` one commits before its changelog is written: what the matrix has to find.
    """

    folder: str
    url: str
    notifier: str
    point: str
    occurrence: int
    seed: int
    now_us: int
    careless: bool = False


def story() -> list[bytes]:
    """Return the signals: bad from the first, good from half a minute on, until it is over."""
    return [
        Signal(
            schema_version=SCHEMA_VERSION,
            signal=SignalName.ERROR_RATE,
            labels=LABELS,
            over_s=10,
            window_end_us=START_US + at_s * 1_000_000,
            value=0.5 if at_s < 30 else 0.0,
            samples=100,
            detector="chaos",
        ).to_json()
        for at_s in range(0, 90, 10)
    ]


class _Crash:
    """Ends this process, as kill -9 does, when a point is passed for the n-th time."""

    def __init__(self, point: str, occurrence: int) -> None:
        self._point = point
        self._left = occurrence

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class _Watched:
    """A notifier that tells when it is about to send, and when it has sent."""

    def __init__(self, notifier: Notifier, crash: _Crash) -> None:
        self._notifier = notifier
        self._crash = crash
        self.name = notifier.name
        self.resend_s = getattr(notifier, "resend_s", 60.0)

    async def send(self, intent: NotificationIntent, receipt: Receipt | None) -> Receipt:
        self._crash("before_send")
        kept = await self._notifier.send(intent, receipt)
        self._crash("after_2xx")
        return kept

    async def push(self, alerts: Sequence[tuple[NotificationIntent, Sequence[str]]]) -> None:
        self._crash("before_send")
        await self._notifier.push(alerts)  # type: ignore[attr-defined]
        self._crash("after_2xx")

    async def aclose(self) -> None:
        await self._notifier.aclose()


def _notifier(run: Run) -> Notifier:
    url = f"{run.url}/{os.getpid()}"
    if run.notifier == "slack":
        return SlackNotifier(SecretStr(TOKEN), "#a", base_url=f"{url}/api/", timeout_s=5)
    if run.notifier == "slack-webhook":
        return SlackWebhookNotifier(SecretStr(f"{url}/services/{HOOK}"))
    if run.notifier == "pagerduty":
        return PagerDutyNotifier(SecretStr(KEY), base_url=url)
    if run.notifier == "alertmanager":
        return AlertmanagerNotifier(url, token=SecretStr(TOKEN))
    if run.notifier == "webhook":
        return WebhookNotifier(SecretStr(f"{url}/hook"), SecretStr(HMAC_KEY))
    # Line by line into the file: what a terminal showed stays shown.
    out = (Path(run.folder) / "stdout").open("a", buffering=1)
    return StdoutNotifier(Console(file=out, width=200))


async def run_worker(run: Run) -> None:
    """Live until everything is told and done, or until the point at which to die."""
    folder, rng = Path(run.folder), random.Random(run.seed)
    crash = _Crash(run.point, run.occurrence)
    now_us = run.now_us
    topics = FileTopics(folder)
    states, outbox = (
        FileTable(folder / name, rng, careless=run.careless) for name in ("states", "outbox")
    )
    outbox.on_write = _outbox_points(run.notifier, crash)
    notifier = _Watched(_notifier(run), crash)
    clock = lambda: now_us
    silences = Silences(outbox)
    box: Any
    if run.notifier == "alertmanager":
        box = MirrorAgent(notifier, outbox, clock)
        boxes, mirrors = [], [box]
    else:

        async def durable() -> None:
            outbox.flush()

        box = NotifyAgent(notifier, outbox, clock, durable=durable)
        boxes, mirrors = [box], []
    rules = parse_rules(RULES, "chaos")
    alert = AlertAgent(rules, Policy(), states, topics, max_lag_s=60, silences=silences)
    grouping = GroupingSettings(wait_s=1, interval_s=5)
    dispatch = DispatchAgent(grouping, outbox, silences, boxes, clock, mirrors=mirrors)
    settings = Settings(data_dir=folder, flags={"path": folder / "flags.json"})
    obedience = Obedience(
        levers(FlagStore(folder / "flags.json"), settings),
        data_dir=folder,
        executor="chaos",
        request_age_s=3_600,
    )
    await box.assigned(True)
    await dispatch.assigned(True)
    idle = 0
    while idle < 3 or now_us < END_US:
        busy = await _consume(topics, alert, dispatch, obedience, (states, outbox), now_us)
        await dispatch.flush_due()
        due_s = await (box.send_due() if mirrors else box.deliver_due())
        if rng.random() < 0.5:
            outbox.flush()
        done = not busy and (due_s is None or (bool(mirrors) and due_s > 10))
        idle = idle + 1 if done else 0
        now_us += _STEP_US
    for table in (states, outbox):
        table.flush()
    await notifier.aclose()


async def _consume(
    topics: FileTopics,
    alert: AlertAgent,
    dispatch: DispatchAgent,
    obedience: Obedience,
    tables: tuple[FileTable, ...],
    now_us: int,
) -> bool:
    """Take one message of each topic, as the agents would; tell whether there was any."""
    busy = False
    for topic, group in (
        (Topics.NOTIFICATIONS, "dispatch"),
        (Topics.ACTIONS, "executor"),
        (Topics.ACTIONS, "results"),
        (Topics.SIGNALS, "alert"),
    ):
        offset, values = topics.behind(topic, group)
        for value in values[:1]:
            if topic is Topics.SIGNALS:
                given = Signal.model_validate_json(value)
                if given.window_end_us > now_us:
                    break
                await alert.on_signal(given)
            elif topic is Topics.NOTIFICATIONS:
                dispatch.take_in(NotificationIntent.model_validate_json(value))
            else:
                await _act(group, value, topics, alert, obedience)
            busy = True
            if group != "executor":  # a careless table's flush does nothing
                for table in tables:  # the changelog is there before the offset is
                    table.flush()
            topics.commit(topic, group, offset + 1)
    return busy


async def _act(
    group: str, value: bytes, topics: FileTopics, alert: AlertAgent, obedience: Obedience
) -> None:
    message = action_message.validate_json(value)
    if group == "results":
        if isinstance(message, ActionResult):
            await alert.on_result(message)
    elif isinstance(message, ActionRequested):
        result = await obedience.answer(message, message.requested_at_us + 1_000_000)
        topics.append(Topics.ACTIONS, [result.to_json()])


def _outbox_points(name: str, crash: _Crash) -> Any:
    """Return what names the points at which a row of the outbox is written."""

    def on_write(key: str, before: str | None, after: str | None, done: bool) -> None:
        if not key.startswith(f"{name}:"):
            return
        old, new = parsed(before), parsed(after)
        if _taken_in(new) > _taken_in(old):
            crash("after_intent" if done else "before_intent")
        elif done and _sent(new) > _sent(old):
            crash("after_sent")

    return on_write


def _taken_in(row: dict[str, Any]) -> int:
    pending = row.get("pending") or row.get("intent") or {}
    return max(int(pending.get("revision", 0)), int(row.get("revision", 0)))


def _sent(row: dict[str, Any]) -> int:
    return int(row.get("shown" if "intent" in row else "revision", 0))


def main(run: Run) -> None:
    """Live one life in this process."""
    asyncio.run(run_worker(run))
