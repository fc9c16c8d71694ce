"""The charts of a rollout: share of traffic, bad requests, evidence."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Final

from serving.rollout.interval import share_bounds
from serving.rollout.machine import STEPS, Metric, Outcome, RolloutState
from serving.rollout.trail import TrailPoint, observed_share
from tocsin.api.markup import Node
from tocsin.api.rollout.chart import Run, area, chart, level, line, split, zone
from tocsin.api.rollout.span import Span, evidence_in_words, percent, thin

__all__ = ["evidence_figure", "share_figure", "shares_figure"]

_FLOOR: Final = -2.0
"""Evidence below a hundredth is drawn at the bottom: all of it says the same."""

Row = tuple[float, float, float, float]


def share_figure(state: RolloutState, span: Span) -> Node:
    """Return the canary's share over time: as it was set, and as requests were observed."""
    plan = _plan(state, span)
    edge: Run = []
    for from_us, until_us, share in plan:
        edge += [(span.place(from_us), _root(share)), (span.place(until_us), _root(share))]
    seen: list[tuple[float, float] | None] = []
    said = []
    for before, after in pairwise(thin(state.trail)):
        observed = observed_share(before, after)
        place = span.place(after.at_us)
        seen.append(None if observed is None else (place, _root(observed)))
        text = "unknown" if observed is None else percent(observed)
        said.append((place, after.at_us, f"set {_step(after.step)}, observed {text}"))
    layers = [
        area([*edge, (edge[-1][0], 0.0), (edge[0][0], 0.0)], "plan"),
        line([edge], "plan-edge"),
        line(split(seen), "observed"),
    ]
    ticks = [(_root(share), percent(share)) for share in (0, 0.05, 0.25, 0.5, 1)]
    now = percent(plan[-1][2])
    return chart(170, ticks, span, layers, f"Share of traffic over time, {now} at the end", said)


def _plan(state: RolloutState, span: Span) -> list[tuple[int, int, float]]:
    """Return from when until when which share was set."""
    found = []
    since = state.started_at_us
    for before, after in pairwise(state.trail):
        if after.step != before.step:
            found.append((since, before.at_us, _share(before.step)))
            since = before.at_us
    last = state.trail[-1].step if state.trail else 0
    if state.outcome is Outcome.RUNNING:
        if state.step != last:
            found.append((since, state.step_at_us, _share(last)))
            since = state.step_at_us
        return [*found, (since, span.until_us, _share(state.step))]
    end = state.looked_at_us if state.ended_at_us is None else state.ended_at_us
    over = 1.0 if state.outcome is Outcome.DONE else 0.0
    return [*found, (since, end, _share(last)), (end, span.until_us, over)]


def _share(step: int) -> float:
    return 0.0 if STEPS[step] == "shadow" else int(STEPS[step]) / 100


def _step(step: int) -> str:
    return "shadow copies" if STEPS[step] == "shadow" else f"{STEPS[step]} %"


def _root(share: float) -> float:
    """Return a height on a square root's scale, on which 5 % can be seen beside 100 %."""
    return math.sqrt(share)


def shares_figure(state: RolloutState, metric: Metric, span: Span) -> Node | None:
    """Return the shares of bad requests with their confidence sequences; None if unknown."""
    groups: dict[str, list[Row | None]] = {"stable": [], "canary": []}
    said = []
    for point in thin(state.trail):
        place, known = span.place(point.at_us), point.metrics.get(metric)
        found = {"stable": (0, 0), "canary": (0, 0)}
        if known is not None:
            found["stable"] = (known.stable_bad, known.stable)
            found["canary"] = (known.canary_bad, known.canary)
        words = []
        for name, (bad, count) in found.items():
            bounds = share_bounds(bad, count)
            groups[name].append(None if bounds is None else (place, bad / count, *bounds))
            text = "unknown" if bounds is None else f"{percent(bad / count)} of {count:,}"
            words.append(f"{name} {text}")
        said.append((place, point.at_us, ", ".join(reversed(words))))
    runs = {name: split(rows) for name, rows in groups.items()}
    rows = [row for found_runs in runs.values() for run in found_runs for row in run]
    if not rows:
        return None
    top = _ceiling(rows, [found_runs[-1][-1] for found_runs in runs.values() if found_runs])
    layers: list[Node] = []
    for name, found_runs in runs.items():
        for run in found_runs:
            upper = [(place, _within(high, top)) for place, _, _, high in run]
            lower = [(place, _within(low, top)) for place, _, low, _ in reversed(run)]
            layers.append(area(upper + lower, f"band {name}"))
        lines = [[(row[0], _within(row[1], top)) for row in run] for run in found_runs]
        layers.append(line(lines, f"line {name}"))
    ticks = [(0.0, "0"), (0.5, percent(top / 2)), (1.0, percent(top))]
    return chart(150, ticks, span, layers, f"{metric}: share of bad requests over time", said)


def _within(share: float, top: float) -> float:
    """Return a height; what is far above the picture needs no exact one."""
    return min(2.0, share / top)


def _ceiling(rows: list[Row], last: list[Row]) -> float:
    """Return where the scale ends.

    The lines of the later part decide, and the bounds at the end: early ones reach anywhere.
    """
    end = max(row[0] for row in last)
    most = max([row[1] for row in rows if row[0] >= 0.4 * end] + [row[3] for row in last])
    if most > 0.6:
        return 1.0
    power = 10.0 ** math.floor(math.log10(most))
    return next(m * power for m in (1, 1.5, 2, 3, 4, 5, 6, 8, 10, 15) if m * power >= most * 1.05)


def evidence_figure(state: RolloutState, metric: Metric, span: Span) -> Node | None:
    """Return the evidence of harm against its limits, on a logarithmic scale; None if unknown."""
    points = thin(state.trail)
    values = [_evidence(point, metric) for point in points]
    known = [value for value in values if value is not None]
    if not known:
        return None
    enough = state.policy.threshold / math.log(10)
    suspicion = math.log10(state.policy.suspicion)
    high = max(enough + 0.5, math.ceil(max(known)))

    def scaled(value: float) -> float:
        return (min(max(value, _FLOOR), high) - _FLOOR) / (high - _FLOOR)

    seen = [
        None if value is None else (span.place(point.at_us), scaled(value))
        for point, value in zip(points, values, strict=True)
    ]
    layers = [
        zone(scaled(enough), 1.0, "zone bad"),
        zone(scaled(suspicion), scaled(enough), "zone warn"),
        level(scaled(suspicion), "limit warn"),
        level(scaled(enough), "limit bad"),
        line(split(seen), "line evidence"),
    ]
    ticks = [
        (scaled(value), f"{10**value:.3g}")
        for value in dict.fromkeys((_FLOOR, 0.0, suspicion, enough))
    ]
    said = [
        (
            span.place(point.at_us),
            point.at_us,
            "unknown" if value is None else f"evidence {evidence_in_words(10**value)}",
        )
        for point, value in zip(points, values, strict=True)
    ]
    label = f"{metric}: evidence of harm over time, taken back at {10**enough:.3g}"
    return chart(150, ticks, span, layers, label, said)


def _evidence(point: TrailPoint, metric: Metric) -> float | None:
    known = point.metrics.get(metric)
    if known is None or known.canary == 0:
        return None
    return known.log_value / math.log(10)
