"""A whole turn of the loop, told to a receiver as Tocsin would tell it: for tests and pictures."""

from __future__ import annotations

import math
import random

from pydantic import SecretStr

from alerting.intent import LadderNote, NotificationIntent, NotifyEvent, PlannedStep
from alerting.notifiers import Receipt, build_notifiers
from schemas.alert import AlertPhase, Severity
from schemas.settings import NotifySettings
from schemas.signal import SignalName
from tocsin.receiver import Point, Receiver, ReceiverClient, Step, StepName

ROUTING_KEY = "0123456789abcdef0123456789abcdef"
KEY = "tocsin/error-rate/llama-3.1-70b/2026-11-20"
START_US = 1_795_000_000_000_000

STEPS = (
    (StepName.REGRESSION_BEGAN, 0.0, "2026-11-20 promoted to all traffic"),
    (StepName.FIRST_SIGNAL, 4.1, "error rate 6.2 % over 10 s"),
    (StepName.PAGED, 6.3, "error-rate, critical"),
    (StepName.ROLLBACK_REQUESTED, 21.4, "above 5 % for longer than allowed"),
    (StepName.ROLLBACK_APPLIED, 21.9, "ai.model.version: 2026-11-20 → 2026-11-06"),
    (StepName.RECOVERED, 38.0, "error rate 0.2 %"),
    (StepName.RESOLVED, 44.6, ""),
)
OLD, NEW = "2026-11-06", "2026-11-20"


def story_points() -> list[Point]:
    """Return every point of the charts, one a second from 30 s before the regression."""
    noise = random.Random(7)
    points = []
    for second in range(-30, 52):
        at_us = START_US + second * 1_000_000
        share = 1.0 if 0 <= second < 23 else max(0.0, 1 - (second - 22) / 3) if second >= 0 else 0
        bad = max(0.0, min(1.0, second / 6))
        for version, part in ((OLD, 1 - share), (NEW, share)):
            rate = part * (24 + 4 * math.sin(second / 5) + noise.gauss(0, 1))
            known = part > 0.02
            wrong = version == NEW
            values: dict[SignalName, float | None] = {
                SignalName.REQUEST_RATE: max(0.0, rate),
                SignalName.ERROR_RATE: None,
                SignalName.E2E_P95: None,
                SignalName.TTFT_P95: None,
                SignalName.COST_RATE: max(0.0, rate) * 0.46,
            }
            if known:
                values[SignalName.ERROR_RATE] = abs(noise.gauss(0.002, 0.001)) + wrong * bad * 0.19
                values[SignalName.E2E_P95] = 3.1 + noise.gauss(0, 0.2) + wrong * bad * 4.5
                values[SignalName.TTFT_P95] = 0.34 + noise.gauss(0, 0.02) + wrong * bad * 1.1
            points += [
                Point(signal=signal, series=version, at_us=at_us, value=value)
                for signal, value in values.items()
            ]
    return points


class StoryClock:
    """The receiver's clock while the story is told: it stands where the story is."""

    def __init__(self) -> None:
        self.after_s = 0.0

    def __call__(self) -> int:
        """Return UTC microseconds."""
        return at(self.after_s)


def at(after_s: float) -> int:
    """Return UTC microseconds at so many seconds after the regression began."""
    return START_US + int(after_s * 1_000_000)


def intents() -> list[tuple[float, NotificationIntent]]:
    """Return what people are told, with the seconds after which they are."""
    asked = LadderNote(at_us=at(21.4), text="rollback: asked for")
    applied = LadderNote(at_us=at(21.9), text=f"rollback: ai.model.version is {OLD} again")
    fired = LadderNote(at_us=at(6.3), text="firing: 6.2 % of requests fail")
    rollback = PlannedStep(at_us=at(21.3), text="rollback, if above 5 %")
    fallback = PlannedStep(at_us=at(41.3), text="fallback, if above 5 %")
    first = NotificationIntent(
        schema_version=1,
        incident_id="error-rate-3f9ac2d1-1795000006",
        fingerprint="3f9ac2d1",
        dedup_key=KEY,
        revision=1,
        event=NotifyEvent.TRIGGER,
        loud=True,
        severity=Severity.ERROR,
        phase=AlertPhase.FIRING,
        rule="error-rate",
        title=f"llama-3.1-70b {NEW}: 6.2 % of requests fail",
        description="6.20 % of 412 requests to vllm failed over 10 s; the threshold is 1 %.",
        advice="Check the provider's status, the network on the way, and what was deployed last.",
        labels={"provider": "vllm", "model": "llama-3.1-70b", "model_version": NEW},
        signal="error_rate",
        unit="ratio",
        value=0.062,
        samples=412,
        threshold="> 1%",
        over_s=10,
        firing_since_us=at(6.3),
        at_us=at(6.3),
        history=(fired,),
        plan=(rollback, fallback),
        sql="SELECT error_type, count() FROM requests WHERE failed GROUP BY error_type",
        runbook="https://tocsin.invalid/runbook#errors",
    )
    escalated = first.model_copy(
        update={
            "revision": 2,
            "at_us": at(21.4),
            "event": NotifyEvent.UPDATE,
            "severity": Severity.CRITICAL,
            "phase": AlertPhase.ESCALATED,
            "value": 0.194,
            "title": f"llama-3.1-70b {NEW}: 19.4 % of requests fail",
            "news": (asked.text,),
            "history": (fired, asked),
            "plan": (fallback,),
        }
    )
    verifying = escalated.model_copy(
        update={
            "revision": 3,
            "at_us": at(21.9),
            "phase": AlertPhase.VERIFYING,
            "loud": False,
            "news": (applied.text,),
            "history": (fired, asked, applied),
        }
    )
    resolved = verifying.model_copy(
        update={
            "revision": 4,
            "at_us": at(44.6),
            "event": NotifyEvent.RESOLVE,
            "phase": AlertPhase.RESOLVED,
            "value": 0.002,
            "title": f"llama-3.1-70b {OLD}: 0.2 % of requests fail",
            "news": ("resolved: 0.2 % of requests fail",),
            "advice": None,
            "plan": (),
        }
    )
    return [(6.3, first), (21.4, escalated), (21.9, verifying), (44.6, resolved)]


async def tell(receiver: Receiver, clock: StoryClock, *, until: int = len(STEPS)) -> None:
    """Tell the story up to a step, by Tocsin's own notifiers and the push API."""
    ends = STEPS[until - 1][1]
    async with ReceiverClient(receiver.url, receiver.token) as client:
        await client.points([p for p in story_points() if p.at_us <= at(ends + 6)])
        for name, after_s, detail in STEPS[:until]:
            await client.step(Step(step=name, at_us=at(after_s), detail=detail))
    notifiers = build_notifiers(
        NotifySettings(
            stdout=False,
            slack_base_url=receiver.slack_base_url,
            slack_token=SecretStr("xoxb-story"),
            slack_channel="#llm-alerts",
            pagerduty_base_url=receiver.pagerduty_base_url,
            pagerduty_routing_key=SecretStr(ROUTING_KEY),
            dashboard_url="http://127.0.0.1:3000/d/tocsin-loop",
        )
    )
    for notifier in notifiers:
        receipt: Receipt | None = None
        for after_s, intent in intents():
            if after_s <= ends:
                clock.after_s = after_s
                receipt = await notifier.send(intent, receipt)
        await notifier.aclose()
