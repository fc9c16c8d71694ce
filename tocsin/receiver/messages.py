"""The Slack channel's content: messages, their threads and their edits, as many as fit."""

from __future__ import annotations

import hashlib
from base64 import b32encode
from dataclasses import dataclass, field
from typing import Any, Final

import orjson

from tocsin.receiver.blocks import block_problems
from tocsin.receiver.errors import SlackError

__all__ = ["MessageStore", "SlackMessage", "channel_id"]

_MAX_TEXT: Final = 40_000
_MAX_EDITS_KEPT: Final = 50
_ID_LENGTH: Final = 11


def channel_id(name_or_id: str) -> str:
    """Return the encoded id of a channel; Slack answers with ids whatever it was asked by."""
    if len(name_or_id) == _ID_LENGTH and name_or_id[0] == "C" and name_or_id.isupper():
        return name_or_id
    digest = hashlib.sha256(name_or_id.removeprefix("#").encode()).digest()
    return "C" + b32encode(digest).decode()[: _ID_LENGTH - 1]


@dataclass(slots=True)
class SlackMessage:
    """One message; ``edits`` holds the fallback texts it had before, oldest first."""

    ts: str
    channel: str
    channel_name: str
    text: str
    blocks: list[Any]
    attachments: list[Any]
    thread_ts: str | None
    broadcast: bool
    username: str
    posted_at_us: int
    edited_at_us: int | None = None
    edit_count: int = 0
    edits: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON for the page and the tests."""
        return {name: getattr(self, name) for name in self.__slots__}

    def as_slack(self) -> dict[str, Any]:
        """Return it as Slack shows a message in its answers."""
        shown: dict[str, Any] = {
            "type": "message",
            "subtype": "bot_message",
            "ts": self.ts,
            "text": self.text,
            "username": self.username,
            "blocks": self.blocks,
            "attachments": self.attachments,
        }
        if self.thread_ts is not None:
            shown["thread_ts"] = self.thread_ts
        return shown


class MessageStore:
    """Messages by (channel, ts), the oldest dropped and counted when there are too many."""

    def __init__(self, limit: int = 500) -> None:
        self.limit = limit
        self.dropped = 0
        self._messages: dict[tuple[str, str], SlackMessage] = {}
        self._last_us = 0

    def __len__(self) -> int:
        return len(self._messages)

    def all(self) -> list[SlackMessage]:
        """Return every message kept, oldest first."""
        return list(self._messages.values())

    def post(self, fields: dict[str, Any], now_us: int) -> SlackMessage:
        """Keep a new message.

        Raises:
            SlackError: with the code that Slack would answer.
        """
        name = _required(fields, "channel", "channel_not_found")
        channel = channel_id(name)
        blocks = _parts(fields, "blocks") or []
        attachments = _parts(fields, "attachments") or []
        text = _text(fields)
        if not (text or blocks or attachments):
            raise SlackError("no_text")
        message = SlackMessage(
            ts=self._next_ts(now_us),
            channel=channel,
            channel_name=name.removeprefix("#"),
            text=text,
            blocks=blocks,
            attachments=attachments,
            thread_ts=self._thread(channel, fields.get("thread_ts")),
            broadcast=str(fields.get("reply_broadcast")).lower() in {"true", "1"},
            username=str(fields.get("username") or "Tocsin"),
            posted_at_us=now_us,
        )
        self._messages[channel, message.ts] = message
        while len(self._messages) > self.limit:
            del self._messages[next(iter(self._messages))]
            self.dropped += 1
        return message

    def update(self, fields: dict[str, Any], now_us: int) -> SlackMessage:
        """Change a message in place; text without blocks takes the blocks away, as Slack does.

        Raises:
            SlackError: ``message_not_found`` for an unknown ts, ``channel_not_found`` for a
                channel that is not an id, and what ``post`` raises.
        """
        channel = _required(fields, "channel", "channel_not_found")
        if channel_id(channel) != channel:
            raise SlackError("channel_not_found")
        message = self._messages.get((channel, _required(fields, "ts", "message_not_found")))
        if message is None:
            raise SlackError("message_not_found")
        blocks, attachments = _parts(fields, "blocks"), _parts(fields, "attachments")
        text = _text(fields)
        if not text and blocks is None and attachments is None:
            raise SlackError("no_text")
        message.edits = [*message.edits, message.text][-_MAX_EDITS_KEPT:]
        if "text" in fields:
            message.text = text
        if blocks is not None or text:
            message.blocks = blocks or []
        if attachments is not None:
            message.attachments = attachments
        message.edited_at_us = now_us
        message.edit_count += 1
        return message

    def _thread(self, channel: str, thread_ts: object) -> str | None:
        if thread_ts is None or thread_ts == "":
            return None
        parent = self._messages.get((channel, str(thread_ts)))
        if parent is None:
            raise SlackError("thread_not_found")
        return parent.thread_ts or parent.ts  # a reply to a reply belongs to the thread's head

    def _next_ts(self, now_us: int) -> str:
        self._last_us = max(now_us, self._last_us + 1)  # a ts names one message of a channel
        return f"{self._last_us // 1_000_000}.{self._last_us % 1_000_000:06d}"


def _required(fields: dict[str, Any], name: str, error: str) -> str:
    value = fields.get(name)
    if not isinstance(value, str) or not value:
        raise SlackError(error)
    return value


def _text(fields: dict[str, Any]) -> str:
    text = fields.get("text") or ""
    if not isinstance(text, str):
        raise SlackError("invalid_arguments", ["[ERROR] text must be a string"])
    if len(text) > _MAX_TEXT:
        raise SlackError("msg_too_long")
    return text


def _parts(fields: dict[str, Any], name: str) -> list[Any] | None:
    """Return ``blocks`` or ``attachments``; in a form they come as JSON text."""
    value = fields.get(name)
    if value is None or value == "":
        return None
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            raise SlackError(f"invalid_{name}_format") from None
    if not isinstance(value, list):
        raise SlackError(f"invalid_{name}_format")
    holders = (
        [value]
        if name == "blocks"
        else [item["blocks"] for item in value if isinstance(item, dict) and "blocks" in item]
    )
    if problems := [problem for blocks in holders for problem in block_problems(blocks)]:
        raise SlackError(f"invalid_{name}", problems)
    return value
