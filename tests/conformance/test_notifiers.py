"""One suite for every notifier, against a real HTTP server that answers as the receivers do."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import uvicorn
from pydantic import SecretStr
from rich.console import Console
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse, Response

from alerting.delivery import TryAgain, next_attempt
from alerting.errors import AlertingError, NotifyError, NotifyRefused, NotifyRetryable
from alerting.intent import (
    Acknowledgement,
    Approval,
    GroupCounts,
    LadderNote,
    NotificationIntent,
    NotifyEvent,
    PlannedStep,
    Share,
)
from alerting.notifiers import Notifier, Receipt, build_notifiers
from alerting.notifiers.alertmanager import AlertmanagerNotifier
from alerting.notifiers.pagerduty import PagerDutyNotifier
from alerting.notifiers.slack import SlackNotifier
from alerting.notifiers.slack_webhook import SlackWebhookNotifier
from alerting.notifiers.stdout import StdoutNotifier
from alerting.notifiers.webhook import WebhookNotifier, signature_of
from schemas.alert import AlertPhase, Severity
from schemas.settings import NotifySettings
from tests.support.receivers import HMAC_KEY, HOOK, KEY, TOKEN, Front, World

pytestmark = pytest.mark.asyncio(loop_scope="module")

EPOCH_US = 1_700_000_000_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def front() -> AsyncIterator[tuple[Front, str]]:
    front = Front()
    app = Starlette(routes=front.routes)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
        task = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:  # noqa: ASYNC110 - uvicorn has no event for it
            await asyncio.sleep(0.01)
        yield front, f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        await task


@pytest_asyncio.fixture(loop_scope="module")
async def world(front: tuple[Front, str]) -> AsyncIterator[World]:
    front[0].world = World(url=front[1])
    yield front[0].world
    front[0].world.over.set()


def slack(url: str, secret: str = TOKEN, timeout_s: float = 5) -> Notifier:
    return SlackNotifier(
        SecretStr(secret),
        "#alerts",
        base_url=f"{url}/api/",
        timeout_s=timeout_s,
        buttons=True,
    )


def pagerduty(url: str, secret: str = KEY, timeout_s: float = 5) -> Notifier:
    return PagerDutyNotifier(
        SecretStr(secret), base_url=url, timeout_s=timeout_s, dashboard_url="https://graf.example"
    )


def slack_webhook(url: str, secret: str = HOOK, timeout_s: float = 5) -> Notifier:
    return SlackWebhookNotifier(SecretStr(f"{url}/services/{secret}"), timeout_s=timeout_s)


def webhook(url: str, secret: str = HMAC_KEY, timeout_s: float = 5) -> Notifier:
    return WebhookNotifier(SecretStr(f"{url}/hook"), SecretStr(secret), timeout_s=timeout_s)


def alertmanager(url: str, secret: str = TOKEN, timeout_s: float = 5) -> Notifier:
    return AlertmanagerNotifier(url, token=SecretStr(secret), timeout_s=timeout_s)


def stdout(url: str, secret: str = "", timeout_s: float = 5) -> Notifier:
    return StdoutNotifier(Console(file=io.StringIO(), width=100))


REMOTE = {
    "slack": (slack, TOKEN),
    "slack-webhook": (slack_webhook, HOOK),
    "pagerduty": (pagerduty, KEY),
    "alertmanager": (alertmanager, TOKEN),
    "webhook": (webhook, HMAC_KEY),
}
ALL = {**{name: make for name, (make, _) in REMOTE.items()}, "stdout": stdout}


@pytest_asyncio.fixture(params=sorted(ALL), loop_scope="module")
async def any_notifier(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Notifier]:
    notifier = ALL[request.param](world.url)
    yield notifier
    await notifier.aclose()


@pytest_asyncio.fixture(params=sorted(REMOTE), loop_scope="module")
async def remote(request: pytest.FixtureRequest, world: World) -> AsyncIterator[Notifier]:
    notifier = REMOTE[request.param][0](world.url)
    yield notifier
    await notifier.aclose()


def intent_of(
    revision: int = 1,
    event: NotifyEvent = NotifyEvent.TRIGGER,
    incident: str = "f0-1",
    **changes: Any,
) -> NotificationIntent:
    data: dict[str, Any] = {
        "schema_version": 1,
        "incident_id": incident,
        "fingerprint": "f0",
        "dedup_key": f"tocsin-{incident}",
        "revision": revision,
        "event": event,
        "loud": event is not NotifyEvent.RESOLVE,
        "severity": Severity.ERROR,
        "phase": AlertPhase.FIRING,
        "rule": "error-rate",
        "title": "llama v2: 30.0% of requests fail",
        "description": "30 % of 500 requests failed & <b>more</b>",
        "news": (f"news {revision}",),
        "advice": "Check the provider.",
        "labels": {"provider": "vllm", "model": "llama", "model_version": "v2"},
        "signal": "error_rate",
        "unit": "ratio",
        "value": 0.3,
        "samples": 500,
        "threshold": "> 1.00%",
        "over_s": 300.0,
        "firing_since_us": EPOCH_US,
        "at_us": EPOCH_US + revision * 10_000_000,
        "history": (LadderNote(at_us=EPOCH_US, text="fired"),),
        "plan": (PlannedStep(at_us=EPOCH_US + 60_000_000, text="rollback (act: rollback)"),),
        "sql": "SELECT 1 FROM requests WHERE a < 2 AND b > 3 AND c = '&'",
        "runbook": "https://runbooks.example/errors?a=1&b=2",
    }
    return NotificationIntent(**{**data, **changes})


APPROVAL = Approval(
    action_id="f0-1:rollback",
    proposal="p-1",
    deed="rollback",
    does="ai.model.version: v2 -> v1",
    inverse="flag=ai.model.version, variant=v2",
    approvers=("ann", "U123"),
    expires_us=EPOCH_US + 600_000_000,
)


async def story(notifier: Notifier, incident: str = "f0-1") -> Receipt:
    """Send one incident from its beginning to its end, the receipt through JSON each time."""
    receipt: Receipt | None = None
    events = [NotifyEvent.TRIGGER, NotifyEvent.UPDATE, NotifyEvent.UPDATE, NotifyEvent.RESOLVE]
    for revision, event in enumerate(events, 1):
        receipt = json.loads(
            json.dumps(await notifier.send(intent_of(revision, event, incident), receipt))
        )
    assert receipt is not None
    return receipt


async def test_every_notifier_tells_a_whole_incident(any_notifier: Notifier) -> None:
    receipt = await story(any_notifier)
    assert receipt["revision"] == 4
    assert any_notifier.name in ALL


async def test_what_was_delivered_is_not_delivered_again(
    any_notifier: Notifier, world: World
) -> None:
    receipt = await any_notifier.send(intent_of(3), None)
    calls = len(world.calls)
    assert await any_notifier.send(intent_of(3), receipt) == receipt
    assert await any_notifier.send(intent_of(2, NotifyEvent.UPDATE), receipt) == receipt
    assert len(world.calls) == calls


async def test_slack_shows_one_message_an_incident_with_its_thread(world: World) -> None:
    notifier = slack(world.url)
    await story(notifier)
    await story(notifier, "f0-2")
    assert len(world.roots()) == 2
    methods = [method for method, _ in world.calls[:7]]
    assert methods == ["chat.postMessage"] + ["chat.update", "chat.postMessage"] * 3
    root = next(iter(world.messages.values()))
    assert root["blocks"][0]["text"]["text"].startswith(":white_check_mark: RESOLVED")
    assert all(reply["thread_ts"] in world.messages for reply in world.replies())
    assert [reply["reply_broadcast"] for reply in world.replies()[:3]] == [True, True, False]
    assert "news 2" in world.replies()[0]["text"]


async def test_slack_posts_anew_when_its_message_was_deleted(world: World) -> None:
    notifier = slack(world.url)
    receipt = await notifier.send(intent_of(1), None)
    world.messages.clear()
    receipt = await notifier.send(intent_of(2, NotifyEvent.UPDATE), receipt)
    assert len(world.roots()) == 1
    assert receipt["ts"] in world.messages


async def test_slack_escapes_what_mrkdwn_would_read(world: World) -> None:
    labels = {"model": "<!channel> & <https://evil.example|x>"}
    notifier = slack(world.url)
    loud = {"labels": labels, "title": "<!everyone> fails", "news": ("<!here>",)}
    receipt = await notifier.send(intent_of(**loud), None)
    await notifier.send(intent_of(2, NotifyEvent.UPDATE, **loud), receipt)
    shown = [message["text"] for message in world.messages.values()]
    assert len(shown) == 2
    assert all("&lt;!here&gt;" in text and "<!" not in text for text in shown)
    # A button's value is no mrkdwn.
    blocks = [block for block in world.roots()[0]["blocks"] if block["type"] != "actions"]
    text = json.dumps(blocks)
    assert "<!channel>" not in text
    assert "<https://evil" not in text
    assert "&lt;!channel&gt; &amp; " in text
    assert "30 % of 500 requests failed &amp; &lt;b&gt;more" in text
    assert "<https://runbooks.example/errors?a=1&amp;b=2|Runbook>" in text


async def test_pagerduty_triggers_and_resolves_under_one_key(world: World) -> None:
    await story(pagerduty(world.url))
    assert [action for action, _ in world.calls] == ["trigger"] * 3 + ["resolve"]
    assert len({body["dedup_key"] for _, body in world.calls}) == 1
    assert world.opened == ["tocsin-f0-1"]
    assert world.incidents == {"tocsin-f0-1": "resolved"}
    first = world.calls[0][1]
    assert first["payload"]["severity"] == "error"
    assert first["payload"]["custom_details"]["sql"].startswith("SELECT 1")
    assert {link["text"] for link in first["links"]} == {"Runbook", "Dashboard"}


async def test_pagerduty_is_not_woken_for_information(world: World) -> None:
    notifier = pagerduty(world.url)
    receipt = await notifier.send(intent_of(1, severity=Severity.INFO), None)
    receipt = await notifier.send(
        intent_of(2, NotifyEvent.RESOLVE, severity=Severity.INFO), receipt
    )
    assert world.calls == []
    receipt = await notifier.send(intent_of(3, severity=Severity.CRITICAL), receipt)
    await notifier.send(intent_of(4, NotifyEvent.RESOLVE, severity=Severity.INFO), receipt)
    assert [action for action, _ in world.calls] == ["trigger", "resolve"]


async def test_pagerduty_is_told_who_looks_after_an_incident(world: World) -> None:
    notifier = pagerduty(world.url)
    receipt = await notifier.send(intent_of(1), None)
    ack = Acknowledgement(by="alice", at_us=EPOCH_US)
    event = NotifyEvent.ACKNOWLEDGE
    receipt = await notifier.send(intent_of(2, event, acknowledged=ack), receipt)
    assert world.incidents == {"tocsin-f0-1": "acknowledged"}
    await notifier.send(intent_of(3, NotifyEvent.RESOLVE, acknowledged=ack), receipt)
    assert [action for action, _ in world.calls] == ["trigger", "acknowledge", "resolve"]
    # One that PagerDuty never heard of has to be there first.
    await notifier.send(intent_of(2, event, "f0-2", acknowledged=ack), None)
    assert world.incidents["tocsin-f0-2"] == "triggered"


async def test_slacks_buttons_follow_the_incident(world: World) -> None:
    def buttons() -> list[str]:
        (root,) = world.roots()
        rows = [block for block in root["blocks"] if block["type"] == "actions"]
        return [one["text"]["text"] for row in rows for one in row["elements"]]

    notifier = slack(world.url)
    approval = APPROVAL
    receipt = await notifier.send(intent_of(1, approval=approval), None)
    assert buttons() == ["Approve rollback", "Reject", "Acknowledge", "Silence 1 h"]
    ack = Acknowledgement(by="alice", at_us=EPOCH_US)
    receipt = await notifier.send(intent_of(2, NotifyEvent.ACKNOWLEDGE, acknowledged=ack), receipt)
    assert buttons() == ["Silence 1 h"]
    assert "alice" in json.dumps(world.roots()[0]["blocks"])
    await notifier.send(intent_of(3, NotifyEvent.RESOLVE), receipt)
    assert buttons() == []
    assert world.roots()[0]["metadata"]["event_payload"]["dedup_key"] == "tocsin-f0-1"


async def test_a_slack_webhook_is_bothered_with_what_is_loud_and_with_the_end(world: World) -> None:
    notifier = slack_webhook(world.url)
    quiet = {"loud": False}
    receipt = await notifier.send(intent_of(1), None)
    receipt = await notifier.send(intent_of(2, NotifyEvent.UPDATE, **quiet), receipt)
    receipt = await notifier.send(intent_of(3, NotifyEvent.UPDATE), receipt)
    await notifier.send(intent_of(4, NotifyEvent.RESOLVE), receipt)
    assert [bool(post.get("blocks")) for post in world.posts] == [True, False, True]
    assert "news 3" in world.posts[1]["text"]
    assert "RESOLVED" in world.posts[2]["text"]
    # What it never heard of does not end for it.
    await notifier.send(intent_of(4, NotifyEvent.RESOLVE, "f0-2"), None)
    assert len(world.posts) == 3


async def test_a_webhooks_receiver_can_tell_repeats_and_forgeries(world: World) -> None:
    notifier = webhook(world.url)
    first = await notifier.send(intent_of(1), None)
    await notifier.send(intent_of(1), None)  # after a crash that lost the receipt
    await notifier.send(intent_of(2, NotifyEvent.UPDATE), first)
    assert [len(bodies) for bodies in world.hooked.values()] == [2, 1]
    body = next(iter(world.hooked.values()))[0]
    assert NotificationIntent.model_validate(body) == intent_of(1)
    key = SecretStr("k")
    assert signature_of(key, "1", b"x") != signature_of(key, "2", b"x")
    assert signature_of(key, "1", b"x") != signature_of(key, "1", b"y")


async def test_a_redirect_is_no_delivery(remote: Notifier, world: World) -> None:
    world.faults = [Response(status_code=302, headers={"Location": f"{world.url}/elsewhere"})]
    if remote.name == "slack":
        pytest.skip("slack_sdk follows redirects")
    with pytest.raises(NotifyRefused, match="302"):
        await remote.send(intent_of(1), None)


async def test_alertmanager_gets_an_alert_that_ends_by_itself_should_we_die(world: World) -> None:
    now = EPOCH_US + 3_600_000_000
    notifier = AlertmanagerNotifier(world.url, token=SecretStr(TOKEN), clock=lambda: now)
    receipt = await notifier.send(intent_of(1, labels={"model": "llama", "feature": ""}), None)
    (alert,) = world.alerts.values()
    assert alert["labels"] == {"alertname": "error-rate", "model": "llama", "severity": "error"}
    assert alert["startsAt"] == "2023-11-14T22:13:20.000+00:00"
    assert alert["endsAt"] == "2023-11-14T23:17:20.000+00:00"  # four times the resend interval
    assert alert["annotations"]["runbook_url"].startswith("https://")
    assert alert["annotations"]["sql"].startswith("SELECT 1")
    assert "rollback" in alert["annotations"]["plan"]
    end = intent_of(2, NotifyEvent.RESOLVE, labels={"model": "llama", "feature": ""})
    await notifier.send(end, receipt)
    (alert,) = world.alerts.values()
    assert alert["endsAt"] == "2023-11-14T22:13:40.000+00:00"


async def test_an_alert_that_grew_worse_is_not_left_behind_under_its_old_severity(
    world: World,
) -> None:
    notifier = alertmanager(world.url)
    receipt = await notifier.send(intent_of(1), None)
    receipt = await notifier.send(
        intent_of(2, NotifyEvent.UPDATE, severity=Severity.CRITICAL), receipt
    )
    ends = {alert["labels"]["severity"]: alert["endsAt"] for alert in world.alerts.values()}
    assert ends["error"] < ends["critical"]
    assert receipt["severity"] == "critical"


async def test_every_receiver_shows_who_carries_the_change_and_how_many_there_are(
    any_notifier: Notifier, world: World
) -> None:
    share = Share(
        label="model_version",
        value="v2",
        share=0.97,
        traffic=0.3,
        before=0.001,
        now=0.31,
        requests=412,
    )
    counts = GroupCounts(firing=9_992, resolved=3, muted=5, examples=("ERROR worst of all",))
    out = io.StringIO()
    notifier = StdoutNotifier(Console(file=out, width=200))
    told = notifier if any_notifier.name == "stdout" else any_notifier
    await told.send(intent_of(1, shares=(share,), group=counts), None)
    said = out.getvalue() if any_notifier.name == "stdout" else json.dumps(world.calls[0][1])
    if any_notifier.name == "webhook":
        assert world.calls[0][1]["shares"][0]["share"] == 0.97
        assert world.calls[0][1]["group"]["firing"] == 9_992
        return
    assert (
        "model_version=v2: 97% of the change with 30% of the requests (0.10% -> 31.00%)"
        in said.replace("\\u003e", ">").replace("&gt;", ">")
    )
    if any_notifier.name != "alertmanager":  # it counts by itself
        assert "9,992 firing" in said
        assert "ERROR worst of all" in said


def whole_page() -> NotificationIntent:
    """Return a page on which everything is told that there is to tell, its query a long one."""
    share = Share(label="server", value="gpu-7", share=0.9, traffic=0.2, requests=412)
    lines = [f"  AND feature != 'feature <{number}> & co'" for number in range(300)]
    return intent_of(
        1,
        baseline=0.004,
        shares=(share,),
        annotations={"team": "<inference & serving>", "dashboard": "https://graf.example/d/1"},
        plan=(
            PlannedStep(
                at_us=APPROVAL.expires_us,
                text="rollback waits for approval until 22:23:20 UTC; without one a human is paged",
            ),
            PlannedStep(at_us=EPOCH_US + 660_000_000, text="fallback (act: fallback, when > 0.05)"),
        ),
        sql="\n".join(["SELECT count()", "FROM requests", "WHERE model = 'llama'", *lines]),
        approval=APPROVAL,
    )


WHOLE = {
    "what broke": ["llama v2: 30.0% of requests fail"],
    "since when": ["2023-11-14"],
    "how bad against what": ["30.00%", "> 1.00%", "0.004"],
    "in which series": ["vllm", "llama", "v2"],
    "which label values carry it": ["server=gpu-7: 90% of the change with 20% of the requests"],
    "what the ladder does next, and when": [
        "22:23:20 or later: rollback waits for approval until 22:23:20 UTC; without one a human",
        "22:24:20 or later: fallback (act: fallback, when > 0.05)",
    ],
    "what waits for approval": [
        "ai.model.version: v2 -> v1",
        "flag=ai.model.version, variant=v2",
        "rollback until 22:23:20 UTC",
        "ann, U123",
        "tocsin approve f0-1:rollback",
    ],
    "the rule's annotations": ["team", "<inference & serving>", "https://graf.example/d/1"],
    "where to read on": ["https://runbooks.example/errors?a=1&b=2"],
}


def plain(value: Any) -> str:
    """Return all the texts of a body, one after the other, as people get to see them."""
    if isinstance(value, dict):
        return "\n".join(f"{name}\n{plain(item)}" for name, item in value.items())
    if isinstance(value, list):
        return "\n".join(map(plain, value))
    return str(value)


async def test_every_receiver_says_all_that_a_page_has_to_say(
    any_notifier: Notifier, world: World
) -> None:
    out = io.StringIO()
    intent = whole_page()
    if any_notifier.name == "stdout":
        await StdoutNotifier(Console(file=out, width=400)).send(intent, None)
        said = "\n".join(line.strip("│ ") for line in out.getvalue().splitlines())
    else:
        await any_notifier.send(intent, None)
        said = plain(world.calls[0][1])
    if any_notifier.name.startswith("slack"):
        said = said.replace("`", "").replace("&lt;", "<").replace("&gt;", ">")
        said = said.replace("&amp;", "&")
    if any_notifier.name == "webhook":  # the state itself, for a program to read
        assert NotificationIntent.model_validate(world.calls[0][1]) == intent
        return
    for what, texts in WHOLE.items():
        for text in texts:
            assert text in said, f"{any_notifier.name} does not say {what}: {text}"
    for line in intent.sql.splitlines():
        assert line.strip() in said, f"{any_notifier.name} lacks of the query: {line}"


async def test_what_waits_for_approval_is_shown_whole_when_it_comes_up(
    any_notifier: Notifier, world: World
) -> None:
    out = io.StringIO()
    console = StdoutNotifier(Console(file=out, width=200))
    told = console if any_notifier.name == "stdout" else any_notifier
    receipt = await told.send(intent_of(1), None)
    before = len(world.calls)
    await told.send(intent_of(2, NotifyEvent.UPDATE, approval=APPROVAL), receipt)
    said = out.getvalue() if told is console else plain([body for _, body in world.calls[before:]])
    for text in ("ai.model.version: v2 -", "flag=ai.model.version, variant=v2", "ann", "U123"):
        assert text in said


async def test_the_page_on_standard_output_says_it_all() -> None:
    out = io.StringIO()
    notifier = StdoutNotifier(Console(file=out, width=120))
    await story(notifier)
    text = out.getvalue()
    for expected in (
        "ERROR: llama v2",
        "30.00% (alert > 1.00%)",
        "do: Check the provider.",
        "SELECT 1 FROM requests",
        "news 2",
        "RESOLVED, was: llama v2",
        "f0-1",
    ):
        assert expected in text
    assert text.count("SELECT 1") == 2  # whole pages at its beginning and its end


ABSURD = "<&'\"\\\n" + "x" * 30_000


async def test_absurdly_long_texts_stay_within_every_limit(remote: Notifier, world: World) -> None:
    huge: dict[str, Any] = {
        "title": ABSURD,
        "description": ABSURD,
        "advice": ABSURD,
        "news": (ABSURD,) * 50,
        "labels": {f"label{number}{'y' * 500}": ABSURD for number in range(60)},
        "history": tuple(LadderNote(at_us=EPOCH_US, text=ABSURD) for _ in range(40)),
        "plan": tuple(PlannedStep(at_us=EPOCH_US, text=ABSURD) for _ in range(40)),
        "sql": ABSURD,
        "runbook": "https://runbooks.example/" + "r" * 400,
    }
    receipt = await remote.send(intent_of(1, incident="i" * 240, **huge), None)
    await remote.send(intent_of(2, NotifyEvent.RESOLVE, incident="i" * 240, **huge), receipt)
    assert world.calls


async def test_empty_labels_and_unknown_values_are_shown(remote: Notifier, world: World) -> None:
    empty = intent_of(labels={"model": "", "feature": ""}, value=None, samples=0, news=())
    await remote.send(empty, None)
    said = json.dumps(world.calls[0][1])
    if remote.name not in ("alertmanager", "webhook"):  # these are for programs, and leave it out
        assert "unknown" in said
    assert "null" not in said


def answers() -> dict[str, tuple[Response, float | None]]:
    return {
        "429": (JSONResponse({"ok": False, "error": "ratelimited"}, 429, {"Retry-After": "7"}), 7),
        "429 bare": (PlainTextResponse("slow down", 429), None),
        "429 date": (
            PlainTextResponse("", 429, {"Retry-After": "Wed, 21 Oct 2026 07:28:00 GMT"}),
            None,
        ),
        "500": (JSONResponse({"status": "error", "message": "oops"}, 500), None),
        "502 page": (Response("<html>bad gateway</html>", 502, media_type="text/html"), None),
        "503": (PlainTextResponse("unavailable", 503, {"Retry-After": "2"}), 2),
        "503 torn": (Response('{"ok": fal', 503, media_type="application/json"), None),
    }


@pytest.mark.parametrize("answer", answers())
async def test_passing_faults_are_retryable_and_the_retry_completes_one_incident(
    remote: Notifier, world: World, answer: str
) -> None:
    response, wait_s = answers()[answer]
    world.faults = [response]
    with pytest.raises(NotifyRetryable) as caught:
        await remote.send(intent_of(1), None)
    assert caught.value.retry_after_s == wait_s
    following = next_attempt(1, caught.value, 0, "k")
    assert isinstance(following, TryAgain)
    assert following.at_us >= (wait_s or 0) * 1e6
    assert len(world.calls) == 1  # nothing retries behind our back
    await story(remote)
    assert world.shown() == 1


@pytest.mark.parametrize("answer", ["429", "500"])
async def test_a_fault_in_the_middle_repeats_no_incident(
    remote: Notifier, world: World, answer: str
) -> None:
    receipt = await remote.send(intent_of(1), None)
    world.faults = [answers()[answer][0]]
    with pytest.raises(NotifyRetryable):
        await remote.send(intent_of(2, NotifyEvent.UPDATE), receipt)
    await remote.send(intent_of(2, NotifyEvent.UPDATE), receipt)
    assert world.shown() == 1


@pytest.mark.parametrize(
    "response",
    [
        JSONResponse({"ok": False, "error": "channel_not_found", "status": "invalid event"}, 400),
        PlainTextResponse("forbidden", 403),
    ],
)
async def test_refusals_are_final(remote: Notifier, world: World, response: Response) -> None:
    world.faults = [response]
    with pytest.raises(NotifyRefused):
        await remote.send(intent_of(1), None)


@pytest.mark.parametrize("name", sorted(REMOTE))
async def test_a_wrong_secret_is_refused_and_told_to_nobody(name: str, world: World) -> None:
    notifier = REMOTE[name][0](world.url, "wrong-" + "secret" * 5)
    with pytest.raises(NotifyRefused) as caught:
        await notifier.send(intent_of(1), None)
    assert "secretsecret" not in str(caught.value)
    await notifier.aclose()


@pytest.mark.parametrize("code", ["internal_error", "service_unavailable", "ratelimited"])
async def test_slack_faults_within_a_200_are_told_apart(world: World, code: str) -> None:
    world.faults = [JSONResponse({"ok": False, "error": code})]
    with pytest.raises(NotifyRetryable):
        await slack(world.url).send(intent_of(1), None)
    world.faults = [JSONResponse({"ok": False, "error": "is_archived"})]
    with pytest.raises(NotifyRefused):
        await slack(world.url).send(intent_of(1), None)


@pytest.mark.parametrize("name", sorted(REMOTE))
async def test_a_dead_receiver_is_retryable(name: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    notifier = REMOTE[name][0](f"http://127.0.0.1:{port}")
    with pytest.raises(NotifyRetryable):
        await notifier.send(intent_of(1), None)
    await notifier.aclose()


@pytest.mark.parametrize("name", sorted(REMOTE))
async def test_a_slow_receiver_is_given_up_in_time_and_retryable(name: str, world: World) -> None:
    world.faults = [None]
    notifier = REMOTE[name][0](world.url, REMOTE[name][1], 1)
    with pytest.raises(NotifyRetryable):
        await asyncio.wait_for(notifier.send(intent_of(1), None), 10)
    await notifier.aclose()


@pytest.mark.parametrize("name", sorted(REMOTE))
async def test_a_connection_that_breaks_is_retryable(name: str) -> None:
    async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(10)
        writer.close()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        notifier = REMOTE[name][0](f"http://127.0.0.1:{port}")
        with pytest.raises(NotifyRetryable):
            await notifier.send(intent_of(1), None)
        await notifier.aclose()


@pytest.fixture
def everything_logged(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    names = [None, "slack_sdk", "slack_sdk.web.async_base_client", "httpx", "httpcore", "aiohttp"]
    for name in names:
        caplog.set_level(logging.DEBUG, logger=name)
    return caplog


async def test_secrets_never_reach_logs_or_errors(
    remote: Notifier, world: World, everything_logged: pytest.LogCaptureFixture
) -> None:
    await story(remote)
    said = []
    for response in (
        JSONResponse({"status": "bad", "errors": [KEY, TOKEN], "error": TOKEN}, 400),
        PlainTextResponse(f"{KEY} {TOKEN}", 503),
    ):
        world.faults = [response]
        with pytest.raises(NotifyError) as caught:
            await remote.send(intent_of(9, incident="f9"), None)
        said.append(f"{caught.value!r} {caught.value.__cause__!r}")
    secret = REMOTE[remote.name][1]
    for text in (*said, repr(remote), repr(vars(remote).get("_token")),
                 repr(vars(remote).get("_routing_key"))):  # fmt: skip
        assert secret not in text
    # The receiver's own echo is what the transport's debug log may show; our requests are not.
    ours = [
        record.getMessage()
        for record in everything_logged.records
        if "Received the following response" not in record.getMessage()
    ]
    assert ours
    assert secret not in "\n".join(ours)


async def test_the_settings_decide_who_is_told() -> None:
    secret = SecretStr("s")
    names = [n.name for n in build_notifiers(NotifySettings())]
    assert names == ["stdout"]
    full = NotifySettings(
        stdout=False, slack_token=secret, slack_channel="#a", pagerduty_routing_key=secret
    )
    assert [n.name for n in build_notifiers(full)] == ["slack", "pagerduty"]
    others = NotifySettings(
        stdout=False,
        slack_webhook_url=SecretStr("https://hooks.slack.example/x"),
        alertmanager_url="http://127.0.0.1:9093",
        webhook_url=SecretStr("https://hook.example"),
        webhook_secret=secret,
    )
    assert [n.name for n in build_notifiers(others)] == [
        "slack-webhook",
        "alertmanager",
        "webhook",
    ]
    with pytest.raises(AlertingError, match="webhook_secret"):
        build_notifiers(NotifySettings(webhook_url=SecretStr("https://hook.example")))
    with pytest.raises(AlertingError, match="slack_channel"):
        build_notifiers(NotifySettings(slack_token=secret))
