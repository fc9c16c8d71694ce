"""When each step of the two stories happened, by the store; what it cannot know is noted."""

from __future__ import annotations

from typing import Final

from tests.demo_vllm.scenario import DEAD, FALLBACK_RULE, GOOD, LATE, MODEL, Story
from tocsin.demo.moments import Moment

__all__ = ["MOMENTS", "of_story"]

_AT: Final = "SELECT toUnixTimestamp64Micro(minOrDefault(at)) FROM"
_SERIES: Final = "rule = '{rule}' AND labels['model_version'] = '{version}'"
_ASKED: Final = f"type = 'action_requested' AND kind = 'rollback' AND {_SERIES}"
_OF_THAT: Final = f"action_id IN (SELECT action_id FROM actions WHERE {_ASKED})"  # noqa: S608
_APPLIED: Final = f"type = 'action_result' AND status = 'applied' AND {_OF_THAT}"
_LONG_FROM_NOW: Final = "toDateTime64('2200-01-01 00:00:00', 6, 'UTC')"
_BACK_AT: Final = f"if(count() = 0, {_LONG_FROM_NOW}, min(at)) FROM actions WHERE {_APPLIED}"

_STEPS: Final = (
    ("back", "the server of {version} is in rotation again, by a canary", "", "gateway"),
    (
        "promoted",
        "{version} promoted",
        f"{_AT} flags WHERE key = 'ai.model.version' AND variant = '{{version}}'",
        "flag",
    ),
    ("began", "{title}", "", "serving"),
    ("answered", "the next request is answered, by {good}", "", "gateway"),
    ("fired", "alert fired", f"{_AT} alerts WHERE {_SERIES} AND to_phase = 'firing'", "alerting"),
    ("paged", "page received", "", "notifiers"),
    (
        "stands_in",
        "second alert: a fallback serves",
        f"{_AT} alerts WHERE rule = '{FALLBACK_RULE}' AND to_phase = 'firing'",
        "alerting",
    ),
    ("requested", "rollback requested", f"{_AT} actions WHERE {_ASKED}", "escalation"),
    ("rollback", "rollback applied", f"{_AT} actions WHERE {_APPLIED}", "executor"),
    (
        "obeyed",
        "the gateway asks {good} first again",
        f"{_AT.replace('(at)', '(start_time)')} requests WHERE model = '{{model}}'"
        " AND model_version = '{good}' AND route = 'stable'"
        f" AND start_time > (SELECT {_BACK_AT})",
        "gateway",
    ),
    (
        "recovered",
        "recovered",
        f"{_AT} actions WHERE type = 'action_verdict' AND recovered AND {_OF_THAT}",
        "verification",
    ),
    (
        "resolved",
        "incident resolved",
        f"{_AT} alerts WHERE {_SERIES} AND to_phase = 'resolved'",
        "alerting",
    ),
)
_ONLY: Final = {"back": LATE, "began": DEAD, "answered": DEAD, "stands_in": DEAD}
"""A version that is late takes nobody's answer away, and begins when it is promoted."""


def of_story(story: Story, step: str) -> str:
    """Return the name of a step of a story."""
    return f"{story.version}_{step}"


def _moment(story: Story, step: str, title: str, sql: str, of: str) -> Moment:
    names = {
        "version": story.version,
        "rule": story.rule,
        "title": story.title,
        "good": GOOD,
        "model": MODEL,
    }
    return Moment(of_story(story, step), title.format(**names), sql.format(**names), of)


MOMENTS: Final[tuple[Moment, ...]] = tuple(
    _moment(story, *step)
    for story in (DEAD, LATE)
    for step in _STEPS
    if _ONLY.get(step[0], story) is story
)
