"""A whole turn of the loop, told to a receiver as Tocsin would tell it: for tests and pictures."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass
from typing import Any

import httpx
from slack_sdk.web.async_client import AsyncWebClient

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


def incident_blocks(status: str, line: str, *, buttons: bool) -> list[dict[str, Any]]:
    """Return the blocks of the incident's message."""
    blocks: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": f"{status} error rate of llama-3.1-70b"},
        },
        {"type": "section", "text": {"type": "mrkdwn", "text": line}},
        {
            "type": "section",
            "fields": [
                {"type": "mrkdwn", "text": "*Rule*\n`error-rate`"},
                {"type": "mrkdwn", "text": "*Severity*\ncritical"},
                {"type": "mrkdwn", "text": f"*Model version*\n`{NEW}`"},
                {"type": "mrkdwn", "text": "*Samples*\n412 requests"},
            ],
        },
    ]
    if buttons:
        blocks.append(
            {
                "type": "actions",
                "elements": [
                    _button("Acknowledge", "primary"),
                    _button("Roll back now", "danger"),
                ],
            }
        )
    blocks.append(
        {
            "type": "context",
            "elements": [
                {"type": "mrkdwn", "text": f"incident `{KEY}`"},
                {"type": "mrkdwn", "text": "<https://tocsin.invalid/runbook|runbook>"},
            ],
        }
    )
    return blocks


def _button(text: str, style: str) -> dict[str, Any]:
    return {
        "type": "button",
        "text": {"type": "plain_text", "text": text},
        "style": style,
        "action_id": text.lower(),
    }


class StoryClock:
    """The receiver's clock while the story is told: it stands where the story is."""

    def __init__(self) -> None:
        self.after_s = 0.0

    def __call__(self) -> int:
        """Return UTC microseconds."""
        return START_US + int(self.after_s * 1_000_000)


@dataclass
class Told:
    """Where the story's message stands."""

    channel: str
    ts: str


async def tell(receiver: Receiver, clock: StoryClock, *, until: int = len(STEPS)) -> Told:
    """Tell the story up to a step, through the two real protocols and the push API."""
    clock.after_s = STEPS[2][1]
    slack = AsyncWebClient("xoxb-story", base_url=receiver.slack_base_url)
    async with (
        ReceiverClient(receiver.url, receiver.token) as client,
        httpx.AsyncClient(base_url=receiver.pagerduty_base_url) as pagerduty,
    ):
        horizon = START_US + (STEPS[until - 1][1] + 6) * 1_000_000
        await client.points([point for point in story_points() if point.at_us <= horizon])
        for name, after_s, detail in STEPS[:until]:
            at_us = START_US + int(after_s * 1_000_000)
            await client.step(Step(step=name, at_us=at_us, detail=detail))
        posted = await slack.chat_postMessage(
            channel="#llm-alerts",
            text="FIRING error rate of llama-3.1-70b: 6.2 %",
            blocks=incident_blocks(
                ":rotating_light: FIRING",
                "*6.2 %* of requests fail, the limit is *1 %*. It began within the last 10 s.",
                buttons=True,
            ),
        )
        told = Told(posted["channel"], posted["ts"])
        (await pagerduty.post("/v2/enqueue", json=page())).raise_for_status()
        if until >= 5:
            await _roll_back(slack, pagerduty, told, clock)
        if until >= len(STEPS):
            await _resolve(slack, pagerduty, told, clock)
    return told


async def _roll_back(
    slack: AsyncWebClient, pagerduty: httpx.AsyncClient, told: Told, clock: StoryClock
) -> None:
    for text in (
        ":stopwatch: above *5 %* for 15 s and nobody acknowledged: asking for `rollback`",
        f":rewind: `ai.model.version` changed from `{NEW}` to `{OLD}`, read back and confirmed",
    ):
        clock.after_s = STEPS[3][1] + ("changed" in text) * 0.8
        await slack.chat_postMessage(channel=told.channel, thread_ts=told.ts, text=text)
    again = page(summary="Error rate of llama-3.1-70b at 19.4 %: rolling back")
    (await pagerduty.post("/v2/enqueue", json=again)).raise_for_status()


async def _resolve(
    slack: AsyncWebClient, pagerduty: httpx.AsyncClient, told: Told, clock: StoryClock
) -> None:
    clock.after_s = STEPS[6][1]
    await slack.chat_postMessage(
        channel=told.channel,
        thread_ts=told.ts,
        text=":white_check_mark: error rate *0.2 %*, below the limit for 6 s",
    )
    await slack.chat_update(
        channel=told.channel,
        ts=told.ts,
        text="RESOLVED error rate of llama-3.1-70b after 44.6 s",
        blocks=incident_blocks(
            ":white_check_mark: RESOLVED",
            "Rolled back by itself, recovered after *44.6 s*. Peak *19.4 %* of requests.",
            buttons=False,
        ),
    )
    resolve = {"routing_key": ROUTING_KEY, "event_action": "resolve", "dedup_key": KEY}
    (await pagerduty.post("/v2/enqueue", json=resolve)).raise_for_status()


def page(summary: str = "Error rate of llama-3.1-70b at 6.2 % (limit 1 %)") -> dict[str, Any]:
    """Return a PagerDuty trigger."""
    return {
        "routing_key": ROUTING_KEY,
        "event_action": "trigger",
        "dedup_key": KEY,
        "payload": {
            "summary": summary,
            "severity": "critical",
            "source": "tocsin",
            "component": "llama-3.1-70b",
            "group": NEW,
            "class": "error-rate",
            "custom_details": {
                "error rate": "6.2 % over 10 s, 412 requests",
                "limit": "1 % (page), 5 % (rollback)",
                "most frequent error": "engine_dead (96 %)",
                "next step": "rollback to 2026-11-06 unless acknowledged within 15 s",
            },
        },
        "links": [{"href": "https://tocsin.invalid/runbook", "text": "Runbook"}],
        "client": "Tocsin",
        "client_url": "https://tocsin.invalid/incidents/42",
    }
