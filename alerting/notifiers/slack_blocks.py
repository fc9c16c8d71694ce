"""An incident as Slack's Block Kit, within its limits, with mrkdwn's control characters escaped."""

from __future__ import annotations

from typing import Any, Final

from alerting.intent import NotificationIntent, NotifyEvent
from alerting.notifiers.slack_buttons import buttons_of
from alerting.notifiers.text import approval_text, clip, clock, figures, headline, shares_text
from schemas.alert import Severity

__all__ = ["MAX_BLOCKS", "blocks_of", "escape", "fallback_text", "news_text"]

MAX_BLOCKS: Final = 50
_SECTION: Final = 3_000
_HEADER: Final = 150
_FIELD: Final = 2_000
_FIELDS: Final = 10
_TEXT: Final = 4_000
_NOTES: Final = 12
_CODE: Final = 2_900
_MOST_PIECES: Final = 10

Block = dict[str, Any]

_BELLS: Final = {
    Severity.INFO: ":information_source:",
    Severity.WARNING: ":warning:",
    Severity.ERROR: ":rotating_light:",
    Severity.CRITICAL: ":rotating_light:",
}


def escape(text: str) -> str:
    """Return a text whose ``&``, ``<`` and ``>`` mean themselves in mrkdwn."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def fallback_text(intent: NotificationIntent) -> str:
    """Return the message's text without blocks, for notifications and screen readers."""
    news = f" - {intent.news[-1]}" if intent.news else ""
    return _whole(escape(f"{headline(intent)}{news}"), _TEXT)


def news_text(intent: NotificationIntent) -> str:
    """Return what the incident's thread is told."""
    return _whole(f"{_bell(intent)} " + escape("\n".join(intent.news)), _TEXT)


def blocks_of(
    intent: NotificationIntent, dashboard_url: str, *, buttons: bool = False
) -> list[Block]:
    """Return the incident's message as blocks, with buttons if clicks on them are heard."""
    blocks: list[Block] = [
        {
            "type": "header",
            "text": {
                "type": "plain_text",
                "text": clip(f"{_bell(intent)} {headline(intent)}", _HEADER),
                "emoji": True,
            },
        }
    ]
    if intent.description:
        blocks.append(_section(escape(intent.description)))
    fields = [
        {"type": "mrkdwn", "text": _whole(f"*{escape(name)}*\n{escape(value)}", _FIELD)}
        for name, value in figures(intent)
    ]
    blocks += [
        {"type": "section", "fields": fields[start : start + _FIELDS]}
        for start in range(0, len(fields), _FIELDS)
    ]
    if intent.shares:
        blocks.append(_section("*Carried by*\n" + escape(shares_text(intent))))
    if intent.group is not None and intent.group.examples:
        blocks.append(_section("*The worst*\n" + _lines(list(map(escape, intent.group.examples)))))
    if intent.advice:
        blocks.append(_section(f"*Do now*\n{escape(intent.advice)}"))
    if intent.approval is not None:
        blocks.append(_section("*Waits for approval*\n" + escape(approval_text(intent))))
    if intent.history:
        notes = [f"`{clock(note.at_us)}` {escape(note.text)}" for note in intent.history]
        blocks.append(_section("*So far*\n" + _lines(notes[-_NOTES:])))
    if intent.plan:
        steps = [f"`{clock(step.at_us)}` or later: {escape(step.text)}" for step in intent.plan]
        blocks.append(_section("*Next, unless the value comes back*\n" + _lines(steps)))
    blocks += [_section(f"*Look at it*\n```{piece}```") for piece in _pieces(intent.sql)]
    links = [_link(intent.runbook, "Runbook"), _link(dashboard_url, "Dashboard")]
    context = [link for link in links if link] + [f"incident `{escape(intent.incident_id)}`"]
    blocks.append(
        {
            "type": "context",
            "elements": [{"type": "mrkdwn", "text": _whole(" | ".join(context), _SECTION)}],
        }
    )
    actions = buttons_of(intent) if buttons else []
    return [*blocks[: MAX_BLOCKS - len(actions)], *actions]


def _bell(intent: NotificationIntent) -> str:
    resolved = intent.event is NotifyEvent.RESOLVE
    return ":white_check_mark:" if resolved else _BELLS[intent.severity]


def _section(mrkdwn: str) -> Block:
    return {"type": "section", "text": {"type": "mrkdwn", "text": _whole(mrkdwn, _SECTION)}}


def _link(target: str, text: str) -> str:
    if not target:
        return ""
    if target.startswith(("http://", "https://")):
        return f"<{escape(target)}|{text}>"
    return f"{text}: {escape(target)}"


def _lines(lines: list[str]) -> str:
    return "\n".join(_whole(line, 400) for line in lines)


def _pieces(text: str) -> list[str]:
    """Return a text, escaped, in pieces that each fit into a section: a query is of use whole."""
    pieces, piece = [], ""
    for line in text.splitlines(keepends=True):
        for start in range(0, len(line), _CODE // 5):  # of which escaping makes five at most
            part = escape(line[start : start + _CODE // 5])
            if len(piece) + len(part) > _CODE:
                pieces.append(piece)
                piece = ""
            piece += part
    return [*pieces, piece][:_MOST_PIECES]


def _whole(escaped: str, limit: int) -> str:
    """Cut escaped text without leaving half of an entity such as ``&am``."""
    if len(escaped) <= limit:
        return escaped
    cut = escaped[: limit - 1]
    entity = cut.rfind("&")
    if entity >= 0 and ";" not in cut[entity:]:
        cut = cut[:entity]
    return cut + "…"
