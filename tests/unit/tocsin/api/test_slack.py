"""Clicks: only Slack's, only new ones, and each has its effect once."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlencode

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from slack_sdk.signature import SignatureVerifier

from alerting.intent import Acknowledgement, Approval, GroupCounts, NotifyEvent
from alerting.notifiers.slack_buttons import Pressed, buttons_of, matchers_of
from alerting.rules.scope import Matcher
from alerting.silence import Silence
from schemas.command import AckCommand, DecideCommand, SilenceCommand
from tests.support.events import NOW_US
from tests.support.intents import intent_of
from tests.unit.tocsin.api.world import SECRET, World, click
from tocsin.api.errors import UnauthorisedError
from tocsin.api.signature import sign, verify

APPROVAL = {
    "approval": Approval(
        action_id="i-1:rollback",
        proposal="p-1",
        deed="rollback",
        does="v2 -> v1",
        inverse="v2",
        expires_us=NOW_US,
    )
}


def post(world: World, body: bytes, headers: dict[str, str], client: Any = None) -> int:
    client = client or world.client()
    status: int = client.post("/slack/interactive", content=body, headers=headers).status_code
    return status


def test_an_acknowledgement_says_who_clicked() -> None:
    world = World()
    assert post(world, *click()) == 200
    (command,) = world.sent
    assert isinstance(command, AckCommand)
    assert (command.subject, command.by, command.via) == ("i-1", "alice (U1)", "slack")


def test_a_silence_covers_exactly_the_incident_for_an_hour() -> None:
    world = World()
    assert post(world, *click("tocsin.silence_1h")) == 200
    (command,) = world.sent
    assert isinstance(command, SilenceCommand)
    assert command.matchers == ("rule=error-rate", "model=m", "model_version=i-1")
    assert command.ends_us - command.starts_us == 3_600_000_000
    silence = Silence.asked(command)
    assert silence.covers({"rule": "error-rate", "model": "m", "model_version": "i-1", "x": "y"})
    assert not silence.covers({"rule": "slow", "model": "m", "model_version": "i-1"})


@pytest.mark.parametrize(("button", "approve"), [("approve", True), ("reject", False)])
def test_a_decision_names_its_action(button: str, approve: bool) -> None:
    world = World()
    assert post(world, *click(f"tocsin.{button}", **APPROVAL)) == 200
    (command,) = world.sent
    assert isinstance(command, DecideCommand)
    assert (command.subject, command.incident_id) == ("i-1:rollback", "i-1")
    assert command.approve is approve
    assert (command.proposal, command.principal) == ("p-1", "U1")


def test_a_decision_under_a_groups_message_is_on_the_actions_own_incident() -> None:
    world = World()
    group = {"incident_id": "tocsin-group-1", "group": GroupCounts(firing=2), **APPROVAL}
    assert post(world, *click("tocsin.approve", **group)) == 200
    (command,) = world.sent
    assert isinstance(command, DecideCommand)
    assert command.incident_id == "i-1"


def test_decisions_of_two_people_are_two_so_that_the_second_hears_of_the_first() -> None:
    world = World()
    client = world.client()
    for user, button in (("U1", "approve"), ("U1", "approve"), ("U2", "approve"), ("U1", "reject")):
        world.now_us += 1_000_000
        clicked = click(f"tocsin.{button}", now_us=world.now_us, user=user, **APPROVAL)
        assert post(world, *clicked, client) == 200
    assert len(world.sent) == 4
    assert len({command.command_id for command in world.sent}) == 3


def test_a_double_click_asks_for_the_same_thing_under_the_same_name() -> None:
    for button in ("tocsin.ack", "tocsin.silence_1h"):
        world = World()
        client = world.client()
        later = NOW_US + 1_000_000
        assert post(world, *click(button, **APPROVAL), client) == 200
        world.now_us = later
        assert post(world, *click(button, now_us=later, user="U2", **APPROVAL), client) == 200
        assert len({command.command_id for command in world.sent}) == 1
        assert len({command.subject for command in world.sent}) == 1


def test_a_silence_asked_for_again_later_is_another_one() -> None:
    world = World()
    post(world, *click("tocsin.silence_1h"))
    post(world, *click("tocsin.silence_1h", revision=2, event=NotifyEvent.UPDATE))
    assert len({command.subject for command in world.sent}) == 2


@pytest.mark.parametrize(
    "timestamp", ["", "soon", "1.5", "-5", "1e9", "\uff11\uff12", " 1790000000", "0x1"]
)
def test_a_timestamp_that_is_no_number_is_refused(timestamp: str) -> None:
    world = World()
    body, headers = click(timestamp="0")
    raw = {**headers, "X-Slack-Request-Timestamp": timestamp}
    encoded = {name: value.encode() for name, value in raw.items()}
    response = world.client().post("/slack/interactive", content=body, headers=encoded)
    assert response.status_code == 401
    assert world.sent == []


@pytest.mark.parametrize("off_s", [-301, 301, -86_400])
def test_a_click_of_another_time_is_refused(off_s: int) -> None:
    world = World()
    assert post(world, *click(now_us=NOW_US + off_s * 1_000_000)) == 401
    assert world.sent == []


@pytest.mark.parametrize("off_s", [-300, 299])
def test_a_click_within_five_minutes_is_taken(off_s: int) -> None:
    world = World()
    assert post(world, *click(now_us=NOW_US + off_s * 1_000_000)) == 200


def test_a_forged_click_is_refused_logged_and_does_nothing() -> None:
    world = World()
    body, headers = click(secret=SecretStr("another"))
    with structlog.testing.capture_logs() as logs:
        assert post(world, body, headers) == 401
        assert post(world, body + b"&x=1", click()[1]) == 401
        assert post(world, body, {"Content-Type": headers["Content-Type"]}) == 401
    assert world.sent == []
    assert [line["event"] for line in logs] == ["click_refused"] * 3
    assert SECRET.get_secret_value() not in str(logs)


def test_a_replayed_click_is_refused_logged_and_does_nothing_more() -> None:
    world = World()
    client = world.client()
    body, headers = click()
    assert post(world, body, headers, client) == 200
    with structlog.testing.capture_logs() as logs:
        for later_s in (0, 1, 299):
            world.now_us = NOW_US + later_s * 1_000_000
            assert post(world, body, headers, client) == 401
    assert len(world.sent) == 1
    assert {line["event"] for line in logs} == {"click_refused"}


def test_a_replay_at_another_instance_has_the_same_name_and_so_no_effect() -> None:
    first, second = World(), World()
    body, headers = click("tocsin.silence_1h")
    assert post(first, body, headers) == post(second, body, headers) == 200
    assert first.sent[0].command_id == second.sent[0].command_id


def test_a_click_that_got_nowhere_may_be_tried_again() -> None:
    world = World(broker_away=True)
    client = world.client()
    assert post(world, *click(), client) == 503
    world.broker_away = False
    assert post(world, *click(), client) == 200
    assert len(world.sent) == 1


def test_only_those_who_may_approve_do() -> None:
    world = World()
    client = world.client(approvers=("U9",))
    assert post(world, *click("tocsin.approve", **APPROVAL), client) == 401
    assert post(world, *click("tocsin.ack", **APPROVAL), client) == 200
    assert post(world, *click("tocsin.approve", user="U9", **APPROVAL), client) == 200
    assert [command.type for command in world.sent] == ["ack", "decide"]


def test_without_a_signing_secret_nothing_is_a_click() -> None:
    empty = SecretStr("")
    with pytest.raises(UnauthorisedError, match="SIGNING_SECRET"):
        verify(empty, "1", sign(empty, "1", b""), b"", 1_000_000)


@pytest.mark.parametrize(
    "payload",
    [
        "{}",
        '{"type": "view_submission"}',
        '{"type": "block_actions", "actions": [{"action_id": "other.app", "value": "x"}]}',
        '{"type": "block_actions", "actions": null, "user": 3}',
    ],
)
def test_what_is_no_click_on_our_buttons_is_taken_and_does_nothing(payload: str) -> None:
    world = World()
    assert post(world, *signed(urlencode({"payload": payload}).encode())) == 200
    assert world.sent == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xff\xfe",
        b"payload=1&payload=2",
        b"payload=[]",
        b"payload=%7B",
        urlencode(
            {"payload": '{"type":"block_actions","actions":[{"action_id":"tocsin.ack"}]}'}
        ).encode(),
        urlencode(
            {"payload": '{"type":"block_actions","actions":[{"action_id":"tocsin.nuke"}]}'}
        ).encode(),
        urlencode(
            {
                "payload": '{"type":"block_actions","actions":[{"action_id":"tocsin.approve",'
                '"value":"{\\"incident_id\\":\\"i\\",\\"revision\\":1}"}]}'
            }
        ).encode(),
    ],
)
def test_a_signed_body_that_cannot_be_read_is_told_so(body: bytes) -> None:
    world = World()
    assert post(world, *signed(body)) == 422
    assert world.sent == []


def signed(body: bytes) -> tuple[bytes, dict[str, str]]:
    timestamp = str(NOW_US // 1_000_000)
    return body, {
        "Content-Type": "application/x-www-form-urlencoded",
        "X-Slack-Request-Timestamp": timestamp,
        "X-Slack-Signature": sign(SECRET, timestamp, body),
    }


@given(st.text(max_size=200).map(str.encode), st.integers(0, 2_000_000_000))
def test_the_signature_is_that_of_slacks_own_client(body: bytes, seconds: int) -> None:
    theirs = SignatureVerifier(SECRET.get_secret_value())
    expected = theirs.generate_signature(timestamp=str(seconds), body=body)
    assert sign(SECRET, str(seconds), body) == expected


def test_a_message_offers_only_what_makes_sense() -> None:
    def names(**changes: Any) -> list[str]:
        blocks = buttons_of(intent_of("i-1", **changes))
        return [one["action_id"] for block in blocks for one in block["elements"]]

    assert names() == ["tocsin.ack", "tocsin.silence_1h"]
    assert names(**APPROVAL)[:2] == ["tocsin.approve", "tocsin.reject"]
    assert names(acknowledged=Acknowledgement(by="a", at_us=1)) == ["tocsin.silence_1h"]
    assert names(event=NotifyEvent.RESOLVE) == []
    assert names(labels={"model": "x" * 3_000}) == ["tocsin.ack"]
    assert names(group=GroupCounts(firing=9), labels={}) == ["tocsin.ack"]


@settings(deadline=None)
@given(st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), st.text(max_size=12)))
def test_matchers_mean_their_incident_or_are_not_offered(labels: dict[str, str]) -> None:
    labels.pop("rule", None)
    intent = intent_of("i-1", labels=labels)
    texts = matchers_of(intent)
    if not texts:
        assert any(re.search(r'^[\s"~]|[\s"]$', value) for value in labels.values())
        return
    for text, (name, value) in zip(
        texts, [("rule", "error-rate"), *sorted(labels.items())], strict=True
    ):
        assert Matcher.parse(text).matches({name: value})
        assert not Matcher.parse(text).matches({name: value + "x"})
    pressed = Pressed(incident_id="i-1", revision=1, matchers=texts)
    assert Pressed.model_validate_json(pressed.to_json()) == pressed
