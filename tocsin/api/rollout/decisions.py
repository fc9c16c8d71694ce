"""What was decided when and why, and the figures behind it as a table."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import Final

from serving.rollout.machine import STEPS, Metric, Outcome, RolloutState
from serving.rollout.outlook import duration, share_name
from tocsin.api.markup import Node, el
from tocsin.api.rollout.parts import time_of, title_row
from tocsin.api.rollout.span import clock, evidence_in_words, percent, thin

__all__ = ["decisions"]

_MOST_ROWS: Final = 60


def decisions(state: RolloutState) -> Node:
    """Return the section, the newest decision first."""
    entries = [_decision(*one) for one in reversed(list(_decisions(state)))]
    return el(
        "section",
        title_row("decisions", "Decisions"),
        el("ol", entries, class_="decisions"),
        _table(state),
        class_="card",
        aria_labelledby="decisions",
    )


def _decisions(state: RolloutState) -> Iterator[tuple[int, str, str, str]]:
    """Return moment, tone, what was decided, and why."""
    yield state.started_at_us, "note", "Begun: shadow copies", "their answers go to nobody"
    first = 0
    for place, (before, after) in enumerate(pairwise(state.trail), start=1):
        if after.step != before.step:
            yield before.at_us, "good", *_went_on(state, first, place - 1, after.step)
            first = place - 1
    last = state.trail[-1].step if state.trail else state.step
    if state.outcome is Outcome.RUNNING and state.step != last:
        yield state.step_at_us, "good", *_went_on(state, first, len(state.trail) - 1, state.step)
    elif state.outcome is Outcome.DONE:
        at_us = state.looked_at_us if state.ended_at_us is None else state.ended_at_us
        yield at_us, "good", f"Promoted: all traffic gets {state.version}", state.reason
    elif state.outcome is Outcome.ABORTED:
        at_us = state.looked_at_us if state.ended_at_us is None else state.ended_at_us
        yield at_us, "bad", f"Taken back: 0 % gets {state.version}", state.reason


def _went_on(state: RolloutState, first: int, last: int, step: int) -> tuple[str, str]:
    start, end = state.trail[first], state.trail[last]
    came = [
        known.canary - (start.metrics[metric].canary if metric in start.metrics else 0)
        for metric, known in end.metrics.items()
    ]
    after = f"after {duration((end.at_us - start.at_us) / 1e6)}"
    if came and max(came) > 0:
        after += f" and {max(came):,} canary requests that were no worse"
    return f"Went on to {share_name(STEPS[step])}", after


def _decision(at_us: int, tone: str, what: str, why: str) -> Node:
    return el(
        "li",
        time_of(at_us),
        el("strong", el("bdi", what)),
        el("bdi", why, class_="quiet"),
        class_=tone,
    )


def _table(state: RolloutState) -> Node:
    points = thin(state.trail, _MOST_ROWS)
    names = [str(metric) for metric in Metric]
    head = el(
        "thead",
        el(
            "tr",
            [el("th", name, rowspan=2, scope="col") for name in ("until", "step")],
            [el("th", name, colspan=3, scope="colgroup") for name in names],
        ),
        el(
            "tr",
            [
                [el("th", name, scope="col") for name in ("canary", "stable", "evidence")]
                for _ in names
            ],
        ),
    )
    rows: list[Node] = []
    for point in points[1:]:
        cells: list[Node] = []
        for metric in Metric:
            known = point.metrics.get(metric)
            if known is None:
                cells += [el("td", "unknown", colspan=3)]
                continue
            for bad, count in ((known.canary_bad, known.canary), (known.stable_bad, known.stable)):
                cells.append(el("td", percent(bad / count) if count else "unknown"))
            value = evidence_in_words(math.exp(min(known.log_value, 700)))
            cells.append(el("td", value if known.canary else "unknown"))
        step = STEPS[point.step] + ("" if STEPS[point.step] == "shadow" else " %")
        rows.append(el("tr", el("th", clock(point.at_us), scope="row"), el("td", step), cells))
    title = "Shares of bad requests since the start, and evidence of harm"
    table = el("table", el("caption", title, class_="unseen"), head, el("tbody", rows))
    scroll = el(
        "div",
        table,
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label="The figures of the charts",
    )
    return el("details", el("summary", "The figures as a table"), scroll, id="figures")
