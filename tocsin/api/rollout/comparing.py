"""Stable against canary, metric by metric: figures, charts, and what they say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from serving.rollout.machine import Metric, Outcome, RolloutState
from serving.rollout.outlook import Comparison, Verdict, comparisons
from tocsin.api.markup import Child, Node, el
from tocsin.api.rollout.figures import evidence_figure, shares_figure
from tocsin.api.rollout.parts import key, time_of, title_row
from tocsin.api.rollout.span import Span, clock, evidence_in_words, percent

__all__ = ["comparing"]

_BAD: Final = {
    Metric.ERRORS: "failed, or another version had to answer",
    Metric.LATENCY: "slower than 95 % of the stable version's before",
    Metric.QUALITY: "scored lower than 90 % of the stable version's before",
    Metric.COST: "dearer than 90 % of the stable version's before",
}
_TONES: Final = {
    Verdict.UNKNOWN: "note",
    Verdict.NO_HARM: "good",
    Verdict.SUSPICIOUS: "warn",
    Verdict.WORSE: "bad",
}


def comparing(state: RolloutState, span: Span) -> Node:
    """Return the section."""
    threshold = math.exp(state.policy.threshold)
    legend = el(
        "ul",
        key("line canary", "canary ", el("bdi", state.version)),
        key("line stable", "stable ", el("bdi", state.previous)),
        el("li", "band: 95 % confidence at every look", class_="quiet"),
        class_="legend",
    )
    articles = [_metric(state, one, span, threshold) for one in comparisons(state)]
    return el(
        "section",
        title_row("metrics", "Stable against canary", legend),
        el("div", articles, class_="metrics"),
        el("p", _how(state), class_="quiet how"),
        class_="card",
        aria_labelledby="metrics",
    )


def _metric(state: RolloutState, one: Comparison, span: Span, threshold: float) -> Node:
    known = one.standing
    canary = (known.canary_bad, known.canary) if known else (0, 0)
    stable = (known.stable_bad, known.stable) if known else (0, 0)
    verdict, tone, silent = str(one.verdict), _TONES[one.verdict], None
    if one.silent_since_us is not None and state.outcome is Outcome.RUNNING:
        before = f". Before that: {verdict}."
        since = time_of(one.silent_since_us)
        silent = el("p", "No look has known anything since ", since, before, class_="silent")
        verdict, tone = f"unknown since {clock(one.silent_since_us)}", "note"
    return el(
        "article",
        el(
            "header",
            el("h3", str(one.metric)),
            el("span", verdict, class_=f"pill {tone}"),
            el("p", _BAD[one.metric], class_="quiet"),
        ),
        el(
            "dl",
            el("div", el("dt", "canary"), el("dd", *_counted(*canary)), class_="canary"),
            el("div", el("dt", "stable"), el("dd", *_counted(*stable)), class_="stable"),
            class_="versus",
        ),
        _figures(state, one, span, threshold),
        silent,
        data_metric=str(one.metric),
        class_=tone,
    )


def _figures(state: RolloutState, one: Comparison, span: Span, threshold: float) -> Iterator[Child]:
    shares = shares_figure(state, one.metric, span)
    if shares is None:
        yield el("p", "Unknown: no look has found enough to compare.", class_="empty")
        return
    yield el("div", shares, class_="figure")
    evidence = evidence_figure(state, one.metric, span)
    if evidence is None or one.evidence is None:
        shadow = state.share == "shadow"
        said = "No canary request yet" + (": shadow copies decide nothing." if shadow else ".")
        yield el("p", said, class_="empty")
        return
    said = f"evidence of harm {evidence_in_words(one.evidence)}, taken back at {threshold:.3g}"
    yield el("div", el("p", said, class_="said"), evidence, class_="figure")


def _counted(bad: int, count: int) -> tuple[Node, Child]:
    if not count:
        return el("b", "unknown"), None
    return el("b", percent(bad / count)), f" {bad:,} of {count:,}"


def _how(state: RolloutState) -> str:
    policy = state.policy
    return (
        f"Each look bets on what is new. Evidence of 1 is none, above {policy.suspicion:g} holds "
        f"the step, {math.exp(policy.threshold):.3g} takes the canary back; of versions that are "
        f"no worse, at most {percent(policy.alpha)} ever get there, however often one looks. "
        "Unknown is no evidence, in neither direction. Times are UTC."
    )
