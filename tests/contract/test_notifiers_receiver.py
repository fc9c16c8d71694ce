"""Tocsin's notifiers and the receiver, each the other's check: the demo stands on both."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pydantic import SecretStr

from alerting.errors import NotifyRetryable
from alerting.intent import LadderNote, PlannedStep
from alerting.notifiers import Notifier, Receipt, build_notifiers
from schemas.settings import NotifySettings
from tests.support.story import ROUTING_KEY, StoryClock, intents
from tocsin.receiver import Fault, Receiver

TOKEN = "xoxb-contract"


@pytest.fixture
def clock() -> StoryClock:
    return StoryClock()


@pytest.fixture
def receiver(clock: StoryClock) -> Iterator[Receiver]:
    with Receiver(slack_token=TOKEN, pagerduty_routing_key=ROUTING_KEY, clock=clock) as receiver:
        yield receiver


def notifiers(receiver: Receiver) -> dict[str, Notifier]:
    settings = NotifySettings(
        stdout=False,
        slack_base_url=receiver.slack_base_url,
        slack_token=SecretStr(TOKEN),
        slack_channel="#llm-alerts",
        pagerduty_base_url=receiver.pagerduty_base_url,
        pagerduty_routing_key=SecretStr(ROUTING_KEY),
    )
    return {notifier.name: notifier for notifier in build_notifiers(settings)}


async def test_an_incident_is_one_slack_message_that_changes(receiver: Receiver) -> None:
    slack = notifiers(receiver)["slack"]
    receipt: Receipt | None = None
    for _, intent in intents():
        receipt = await slack.send(intent, receipt)
    head, *replies = receiver.board.messages.all()
    assert receipt is not None
    assert (receipt["channel"], receipt["ts"]) == (head.channel, head.ts)
    assert head.edit_count == 3
    assert "RESOLVED" in head.text
    assert {reply.thread_ts for reply in replies} == {head.ts}
    assert [reply.broadcast for reply in replies] == [True, False, False]


async def test_an_incident_is_one_pagerduty_incident_that_ends(receiver: Receiver) -> None:
    pagerduty = notifiers(receiver)["pagerduty"]
    receipt: Receipt | None = None
    seen = []
    for _, intent in intents():
        receipt = await pagerduty.send(intent, receipt)
        seen.append([one.status for one in receiver.board.incidents.all()])
    await pagerduty.aclose()
    assert seen == [["triggered"]] * 3 + [["resolved"]]


@pytest.mark.parametrize("name", ["slack", "pagerduty"])
async def test_the_longest_intent_is_within_what_the_service_takes(
    receiver: Receiver, name: str
) -> None:
    _, intent = intents()[0]
    long = "<&> " * 2_000
    notes = tuple(LadderNote(at_us=intent.at_us, text=long) for _ in range(100))
    steps = tuple(PlannedStep(at_us=intent.at_us, text=long) for _ in range(100))
    notifier = notifiers(receiver)[name]
    await notifier.send(
        intent.model_copy(
            update={
                "title": long,
                "description": long,
                "advice": long,
                "sql": long,
                "news": (long,) * 20,
                "history": notes,
                "plan": steps,
                "labels": {f"label-{n}": long for n in range(60)},
            }
        ),
        None,
    )
    await notifier.aclose()
    assert len(receiver.board.messages) + len(receiver.board.incidents.all()) == 1


@pytest.mark.parametrize("name", ["slack", "pagerduty"])
async def test_a_rate_limit_is_told_with_its_time_and_the_next_try_goes_through(
    receiver: Receiver, name: str
) -> None:
    receiver.board.faults.add(Fault(target=name, status=429, retry_after_s=7))
    _, intent = intents()[0]
    notifier = notifiers(receiver)[name]
    with pytest.raises(NotifyRetryable) as caught:
        await notifier.send(intent, None)
    assert caught.value.retry_after_s == 7
    await notifier.send(intent, None)
    await notifier.aclose()
    assert len(receiver.board.messages) + len(receiver.board.incidents.all()) == 1


async def test_a_page_whose_answer_was_lost_pages_nobody_twice(receiver: Receiver) -> None:
    receiver.board.faults.add(Fault(target="pagerduty", status=502, when="after"))
    _, intent = intents()[0]
    pagerduty = notifiers(receiver)["pagerduty"]
    with pytest.raises(NotifyRetryable):
        await pagerduty.send(intent, None)
    await pagerduty.send(intent, None)
    await pagerduty.aclose()
    (incident,) = receiver.board.incidents.all()
    assert (incident.status, incident.events) == ("triggered", 2)


async def test_a_message_that_is_gone_is_posted_anew(receiver: Receiver) -> None:
    slack = notifiers(receiver)["slack"]
    (_, first), (_, second), *_ = intents()
    receipt = await slack.send(first, None)
    again = await slack.send(second, {**receipt, "ts": "1.000001"})
    assert again["ts"] == receiver.board.messages.all()[-1].ts


async def test_the_secrets_reach_nothing_that_the_receiver_shows(receiver: Receiver) -> None:
    _, intent = intents()[0]
    for notifier in notifiers(receiver).values():
        await notifier.send(intent, None)
        await notifier.aclose()
    async with httpx.AsyncClient(base_url=receiver.url, trust_env=False) as http:
        shown = [(await http.get(f"/api/{what}")).text for what in ("messages", "incidents")]
    assert not any(secret in text for text in shown for secret in (TOKEN, ROUTING_KEY))
