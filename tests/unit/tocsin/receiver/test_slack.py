from __future__ import annotations

import json
import re
from typing import Any

import httpx
import pytest
from slack_sdk.errors import SlackApiError
from slack_sdk.http_retry.builtin_async_handlers import AsyncRateLimitErrorRetryHandler
from slack_sdk.web.async_client import AsyncWebClient

from tocsin.receiver import Receiver

SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "*6 %* fail"}}


def kept(receiver: Receiver, ts: str) -> dict[str, Any]:
    return next(m.as_dict() for m in receiver.board.messages.all() if m.ts == ts)


async def test_a_post_answers_the_channel_id_and_ts_that_an_update_takes(
    slack: AsyncWebClient, receiver: Receiver
) -> None:
    posted = await slack.chat_postMessage(channel="#alerts", text="firing", blocks=[SECTION])
    assert re.fullmatch(r"\d{10}\.\d{6}", posted["ts"])
    assert re.fullmatch(r"C[A-Z0-9]{10}", posted["channel"])
    updated = await slack.chat_update(
        channel=posted["channel"], ts=posted["ts"], text="resolved", blocks=[SECTION, SECTION]
    )
    assert updated["ts"] == posted["ts"]
    message = kept(receiver, posted["ts"])
    assert (message["text"], len(message["blocks"])) == ("resolved", 2)
    assert message["edits"] == ["firing"]
    assert message["channel_name"] == "alerts"


async def test_text_alone_takes_the_blocks_away_and_blocks_alone_keep_the_text(
    slack: AsyncWebClient, receiver: Receiver
) -> None:
    posted = await slack.chat_postMessage(channel="#alerts", text="a", blocks=[SECTION])
    where = {"channel": posted["channel"], "ts": posted["ts"]}
    await slack.chat_update(**where, text="b")
    assert kept(receiver, posted["ts"])["blocks"] == []
    await slack.api_call("chat.update", json={**where, "blocks": [SECTION]})
    assert kept(receiver, posted["ts"])["text"] == "b"
    assert kept(receiver, posted["ts"])["blocks"] == [SECTION]


async def test_replies_join_the_thread_of_its_head(
    slack: AsyncWebClient, receiver: Receiver
) -> None:
    head = await slack.chat_postMessage(channel="#alerts", text="head")
    reply = await slack.chat_postMessage(channel="#alerts", text="one", thread_ts=head["ts"])
    nested = await slack.chat_postMessage(
        channel=head["channel"], text="two", thread_ts=reply["ts"]
    )
    assert reply["message"]["thread_ts"] == head["ts"]
    assert kept(receiver, nested["ts"])["thread_ts"] == head["ts"]


async def test_a_form_is_taken_as_well_as_json(http: httpx.AsyncClient) -> None:
    answer = await http.post(
        "/slack/api/chat.postMessage",
        headers={"Authorization": "Bearer xoxb-form"},
        data={"channel": "#forms", "text": "hello", "blocks": json.dumps([SECTION])},
    )
    assert answer.json()["ok"] is True
    assert answer.json()["message"]["blocks"] == [SECTION]


@pytest.mark.parametrize(
    ("method", "arguments", "error"),
    [
        ("chat.update", {"channel": "C0123456789", "ts": "1.2", "text": "x"}, "message_not_found"),
        ("chat.update", {"channel": "#alerts", "ts": "1.2", "text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"text": "x"}, "channel_not_found"),
        ("chat.postMessage", {"channel": "#alerts"}, "no_text"),
        ("chat.postMessage", {"channel": "#a", "text": "x" * 40_001}, "msg_too_long"),
        (
            "chat.postMessage",
            {"channel": "#a", "text": "x", "thread_ts": "9.9"},
            "thread_not_found",
        ),
        ("chat.postMessage", {"channel": "#a", "blocks": "[oops"}, "invalid_blocks_format"),
        ("chat.postMessage", {"channel": "#a", "blocks": [{"type": "nope"}]}, "invalid_blocks"),
        ("chat.postMessage", {"channel": "#a", "attachments": "{}"}, "invalid_attachments_format"),
        ("chat.postMessage", {"channel": "#a", "text": ["x"]}, "invalid_arguments"),
        ("chat.delete", {"channel": "#alerts"}, "unknown_method"),
    ],
)
async def test_slacks_own_errors(
    slack: AsyncWebClient, method: str, arguments: dict[str, Any], error: str
) -> None:
    with pytest.raises(SlackApiError) as caught:
        await slack.api_call(method, json=arguments)
    assert caught.value.response["error"] == error
    assert caught.value.response.status_code == 200


async def test_a_block_too_long_is_named_by_its_pointer(slack: AsyncWebClient) -> None:
    long = {"type": "section", "text": {"type": "mrkdwn", "text": "x" * 3_001}}
    with pytest.raises(SlackApiError) as caught:
        await slack.chat_postMessage(channel="#alerts", text="x", blocks=[SECTION, long])
    assert caught.value.response["errors"] == [
        "must be less than 3001 characters [json-pointer:/blocks/1/text/text]"
    ]


async def test_no_token_and_a_wrong_one() -> None:
    with Receiver(slack_token="xoxb-right") as receiver:
        url = f"{receiver.slack_base_url}auth.test"
        async with httpx.AsyncClient(trust_env=False) as http:
            none = await http.post(url)
            wrong = await http.post(url, headers={"Authorization": "Bearer xoxb-wrong"})
        right = await AsyncWebClient("xoxb-right", base_url=receiver.slack_base_url).auth_test()
    assert none.json() == {"ok": False, "error": "not_authed"}
    assert wrong.json() == {"ok": False, "error": "invalid_auth"}
    assert right["ok"] is True


@pytest.mark.parametrize(("body", "error"), [(b"{", "invalid_json"), (b"[1]", "json_not_object")])
async def test_bodies_that_are_no_arguments(
    http: httpx.AsyncClient, body: bytes, error: str
) -> None:
    headers = {"Authorization": "Bearer x", "Content-Type": "application/json"}
    answer = await http.post("/slack/api/chat.postMessage", content=body, headers=headers)
    assert answer.json()["error"] == error


async def test_a_body_without_end_is_cut_off(http: httpx.AsyncClient) -> None:
    answer = await http.post("/slack/api/chat.postMessage", content=b"x" * (1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["error"]) == (413, "request_too_large")


async def test_slack_sdk_waits_out_a_429_and_then_gets_through(
    slack: AsyncWebClient, http: httpx.AsyncClient, receiver: Receiver
) -> None:
    slack.retry_handlers.append(AsyncRateLimitErrorRetryHandler(max_retry_count=2))
    fault = {"target": "slack", "status": 429, "retry_after_s": 0, "times": 2}
    await http.post("/api/faults", json=fault, headers={"X-Tocsin-Token": receiver.token})
    before = len(receiver.board.messages)
    posted = await slack.chat_postMessage(channel="#alerts", text="patient")
    assert posted["ok"] is True
    assert len(receiver.board.messages) == before + 1
    assert receiver.board.faults.as_dict()["waiting"] == []


async def test_an_answer_lost_after_the_work_leaves_the_message(
    http: httpx.AsyncClient, slack: AsyncWebClient, receiver: Receiver
) -> None:
    fault = {"target": "slack", "status": 500, "when": "after"}
    await http.post("/api/faults", json=fault, headers={"X-Tocsin-Token": receiver.token})
    before = len(receiver.board.messages)
    with pytest.raises(SlackApiError):
        await slack.chat_postMessage(channel="#alerts", text="was it posted?")
    assert len(receiver.board.messages) == before + 1


@pytest.mark.parametrize("text", [b'"\\ud800"', b"NaN", b"[" * 100_000])
@pytest.mark.parametrize("path", ["/slack/api/chat.postMessage", "/pagerduty/v2/enqueue"])
async def test_json_that_the_page_could_not_show_is_refused(
    http: httpx.AsyncClient, path: str, text: bytes
) -> None:
    headers = {"authorization": "Bearer xoxb-test", "content-type": "application/json"}
    body = b'{"channel": "#a", "text": ' + text + b', "blocks": [' + text + b"]}"
    answer = await http.post(path, content=body, headers=headers)
    assert answer.json().get("error") == "invalid_json" or answer.status_code == 400
    assert (await http.get("/api/messages")).status_code == 200
