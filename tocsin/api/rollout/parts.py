"""Small parts that every section of the page is made of."""

from __future__ import annotations

from collections.abc import Sequence

from serving.rollout.machine import Outcome, RolloutState
from serving.rollout.outlook import Comparison, Verdict, comparisons
from tocsin.api.markup import Child, Node, el
from tocsin.api.rollout.span import clock

__all__ = ["headline", "key", "prose", "time_of", "title_row", "tone_of"]


def title_row(name: str, text: str, *more: Child) -> Node:
    """Return a section's title, and what stands beside it."""
    return el("div", el("h2", text, id=name), *more, class_="title-row")


def key(kind: str, *text: Child) -> Node:
    """Return an entry of a legend."""
    line = el("line", class_=kind, x1=1, x2=21, y1=5, y2=5)
    sample = el("svg", line, class_="key", width=22, height=10, aria_hidden="true")
    return el("li", sample, el("span", *text))


def prose(text: str) -> list[Child]:
    """Return a sentence, with what stands between backticks as code."""
    return [el("code", part) if place % 2 else part for place, part in enumerate(text.split("`"))]


def time_of(at_us: int) -> Node:
    """Return a moment in UTC."""
    text = clock(at_us, day=True)
    return el("time", text, datetime=text.replace(" ", "T") + "Z", title="UTC")


def headline(state: RolloutState) -> str:
    """Return where a rollout stands, in a few words."""
    if state.outcome is Outcome.DONE:
        return "promoted"
    if state.outcome is Outcome.ABORTED:
        at = "in shadow" if state.share == "shadow" else f"at {state.share} %"
        return f"taken back {at}"
    return "shadow copies" if state.share == "shadow" else f"{state.share} % of traffic"


def tone_of(state: RolloutState) -> str:
    """Return the style sheet's name of how that is."""
    if state.outcome is Outcome.DONE:
        return "good"
    if state.outcome is Outcome.ABORTED:
        return "bad"
    found: Sequence[Comparison] = comparisons(state)
    return "warn" if any(one.verdict is Verdict.SUSPICIOUS for one in found) else "act"
