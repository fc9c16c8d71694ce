"""What the terminal shows while the demo runs, and at its end."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.text import Text

from tests.demo_vllm.moments import MOMENTS, of_story
from tests.demo_vllm.parts import Parts
from tests.demo_vllm.run import Played
from tests.demo_vllm.scenario import DEAD, LATE, Story
from tests.demo_vllm.traffic import Outcome
from tocsin.demo.checks import Check
from tocsin.demo.view import closing_checks, timeline_table

__all__ = ["close", "figures", "show"]


def _line(played: Played) -> str:
    traffic = played.traffic
    return (
        f"{played.doing}: {len(traffic.ledger)} sent, {traffic.count(Outcome.ANSWERED)} answered, "
        f"{traffic.count(Outcome.BROKEN)} broken, {played.rows} rows"
    )


def _live(played: Played, page: str) -> RenderableType:
    return Group(
        Text(_line(played), "bold"),
        Text(f"what Slack and PagerDuty get: {page}", "cyan"),
        _timeline(played),
    )


def _timeline(played: Played) -> RenderableType:
    """Return what happened so far, by the time at which it did: two ways part at an alert."""
    moments = dict(played.moments)
    steps = [moment for moment in MOMENTS if moment.name in moments]
    return timeline_table(moments, sorted(steps, key=lambda moment: moments[moment.name]))


async def show(console: Console, played: Played, page: str) -> None:
    """Show what happens until cancelled: live on a terminal, by lines in a file."""
    if console.is_terminal:
        with Live(_live(played, page), console=console, refresh_per_second=4) as view:
            while True:
                await asyncio.sleep(0.25)
                view.update(_live(played, page))
    while True:
        console.print(_line(played), highlight=False)
        await asyncio.sleep(5)


def close(console: Console, played: Played, checks: Sequence[Check]) -> None:
    """Print what happened, and every check."""
    console.rule("what happened")
    console.print(_timeline(played))
    console.rule("checks")
    closing_checks(console, checks)


def figures(parts: Parts, played: Played) -> dict[str, Any]:
    """Return the times of both stories in seconds since their beginning, and the counts."""
    traffic = played.traffic
    sent = len(traffic.ledger) + len(played.direct.ledger)
    return {
        "killed": _since(played, DEAD, "began"),
        "late_version": _since(played, LATE, "promoted"),
        "requests": sent,
        "rows": played.rows,
        "broken": traffic.count(Outcome.BROKEN),
        "started_s": parts.started_s,
    }


def _since(played: Played, story: Story, beginning: str) -> dict[str, float | None]:
    began_us = played.moments.get(of_story(story, beginning))
    names = {
        "answered": "fallback_s",
        "paged": "page_s",
        "rollback": "rollback_s",
        "obeyed": "obeyed_s",
        "recovered": "recovered_s",
        "resolved": "resolved_s",
    }
    known = {moment.name for moment in MOMENTS}
    return {
        name: None if at_us is None or began_us is None else round((at_us - began_us) / 1e6, 3)
        for step, name in names.items()
        if of_story(story, step) in known
        for at_us in [played.moments.get(of_story(story, step))]
    }
