"""Who decides in vain hears why, alone, and only by an address of Slack's."""

from __future__ import annotations

import json

import httpx
import pytest
import structlog
from pydantic import SecretStr
from starlette.testclient import TestClient

from schemas.command import CommandVia, DecideCommand
from serving.flags.store import FlagStore
from serving.rollout.steer import Steering
from tests.support.events import NOW_US
from tests.unit.tocsin.api.test_slack import APPROVAL
from tests.unit.tocsin.api.world import SECRET, World, click, decided_row, proposed_row
from tocsin.api import slack_reply
from tocsin.api.app import create_app
from tocsin.api.reading import Reading
from tocsin.api.rollout.view import Rollouts
from tocsin.api.slack import SlackClicks
from tocsin.api.slack_reply import SlackReplies

URL = "https://hooks.slack.com/actions/T1/1/secret"


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slack_reply, "_LOOK_S", 0.0)


class Slack:
    """Slack's side of an answer."""

    def __init__(self, status: int = 200) -> None:
        self.status = status
        self.heard: list[tuple[str, dict[str, object]]] = []

    def take(self, request: httpx.Request) -> httpx.Response:
        self.heard.append((str(request.url), json.loads(request.content)))
        return httpx.Response(self.status)

    def replies(self, world: World) -> SlackReplies:
        transport = httpx.MockTransport(self.take)
        return SlackReplies(
            Reading(world),
            lambda: NOW_US,
            looks=3,
            client=lambda: httpx.AsyncClient(transport=transport),
        )


def command(command_id: str = "c-1", *, approve: bool = True) -> DecideCommand:
    return DecideCommand(
        schema_version=1,
        command_id=command_id,
        by="ann (U1)",
        via=CommandVia.SLACK,
        reason="clicked",
        at_us=NOW_US,
        subject="i-1:rollback",
        incident_id="i-1",
        proposal="p-i-1:rollback",
        approve=approve,
    )


async def test_a_decision_that_did_nothing_is_answered_with_the_reason() -> None:
    slack, world = Slack(), World(proposed=[proposed_row()], decided=[decided_row("ignored")])
    await slack.replies(world).answer(command(approve=False), URL)
    ((url, body),) = slack.heard
    assert url == URL
    assert body == {
        "response_type": "ephemeral",
        "replace_original": False,
        "text": "Your rejection of i-1:rollback did nothing: said so",
    }


@pytest.mark.parametrize(
    ("world", "url"),
    [
        (World(proposed=[proposed_row()], decided=[decided_row("approved")]), URL),
        (World(proposed=[proposed_row()]), URL),
        (World(), URL),
        (World(store_away=True), URL),
        (World(proposed=[proposed_row()], decided=[decided_row("ignored")]), ""),
        (World(proposed=[proposed_row()], decided=[decided_row("ignored")]), "http://10.0.0.1/"),
    ],
)
async def test_nothing_is_said_of_what_counts_or_is_unknown_or_to_strangers(
    world: World, url: str
) -> None:
    slack = Slack()
    await slack.replies(world).answer(command(), url)
    assert slack.heard == []


async def test_an_answer_that_does_not_get_through_is_logged_without_its_address() -> None:
    slack, world = Slack(404), World(proposed=[proposed_row()], decided=[decided_row("ignored")])
    with structlog.testing.capture_logs() as logs:
        await slack.replies(world).answer(command(), URL)
    assert [line["event"] for line in logs] == ["click_unanswered"]
    assert "secret" not in str(logs)


def test_a_click_is_answered_first_and_told_of_afterwards() -> None:
    slack, world = Slack(), World(proposed=[proposed_row()])
    world.answers = lambda one: world.decided.append(decided_row("ignored", "ann", one.command_id))
    clicks = SlackClicks(SECRET, world, lambda: NOW_US, replies=slack.replies(world))
    rollouts = Rollouts(Steering(FlagStore(world.flags)), lambda: NOW_US)
    app = create_app(Reading(world), world, clicks, rollouts, SecretStr(""), lambda: NOW_US)
    client = TestClient(app, base_url="http://127.0.0.1")
    body, headers = click("tocsin.approve", response_url=URL, **APPROVAL)
    answered = client.post("/slack/interactive", content=body, headers=headers)
    assert answered.status_code == 200
    assert [url for url, _ in slack.heard] == [URL]
