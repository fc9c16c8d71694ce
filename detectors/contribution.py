"""Which values of which labels carry a change: each one's share of the whole. Pure.

A ratio such as the error rate goes from R0 to R1. With n(v) requests of value v among N, and s(v)
bad ones among them, the value contributes

    [s1(v) - R0 n1(v)] / N1  -  [s0(v) - R0 n0(v)] / N0

which counts both that v got worse and that more requests went to a v that is worse than the rest.
Over all values of a label the contributions sum to R1 - R0 exactly, so shares sum to 1; one below 0
moved the other way. For sums such as cost the contribution is the difference itself. This is the
additive decomposition of Adtributor (Bhagwan et al., "Adtributor: Revenue Debugging in Advertising
Systems", NSDI 2014), taken against the rate before instead of a forecast.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

__all__ = ["Contribution", "Slice", "ratio_contributions", "sum_contributions", "telling"]


@dataclass(frozen=True, slots=True)
class Slice:
    """The requests of one value of one label: their number, and the measure summed over them."""

    label: str
    value: str
    before_requests: int
    before_sum: float
    now_requests: int
    now_sum: float


@dataclass(frozen=True, slots=True)
class Contribution:
    """One value's share of the change (1 is all of it), and of the requests now (0 to 1)."""

    label: str
    value: str
    share: float
    traffic: float
    requests: int


def ratio_contributions(slices: Iterable[Slice]) -> list[Contribution]:
    """Return each value's share of the change of a ratio, label by label.

    Without requests before there is no rate to compare with: shares are those of what is bad now.
    A label is left out when nothing changed, or when no requests came.
    """
    found = []
    for part in _by_label(slices):
        n0, n1 = (sum(one.before_requests for one in part), sum(one.now_requests for one in part))
        if not n1:
            continue
        r1 = math.fsum(one.now_sum for one in part) / n1
        r0 = math.fsum(one.before_sum for one in part) / n0 if n0 else 0.0
        found += _shares(
            part,
            [
                (one.now_sum - r0 * one.now_requests) / n1
                - ((one.before_sum - r0 * one.before_requests) / n0 if n0 else 0.0)
                for one in part
            ],
            r1 - r0,
            n1,
        )
    return found


def sum_contributions(slices: Iterable[Slice], before_s: float, now_s: float) -> list[Contribution]:
    """Return each value's share of the change of a sum per time, label by label.

    ``before_s`` and ``now_s`` are the lengths of the two periods in seconds, above 0.
    """
    found = []
    for part in _by_label(slices):
        n1 = sum(one.now_requests for one in part)
        parts = [one.now_sum / now_s - one.before_sum / before_s for one in part]
        if n1:
            found += _shares(part, parts, math.fsum(parts), n1)
    return found


def telling(
    contributions: Iterable[Contribution], *, most: int = 5, least: float = 0.1
) -> list[Contribution]:
    """Return those worth telling, the most telling first.

    A value that carries as much of the change as it has of the requests says nothing: what counts
    is how far its share exceeds its traffic. A label with one value alone is none.
    """
    given = list(contributions)
    alone = {one.label for one in given} - {
        one.label for one in given if any(o.label == one.label and o is not one for o in given)
    }
    worth = [
        one
        for one in given
        if one.label not in alone and one.share >= least and one.share - one.traffic >= least
    ]
    worth.sort(key=lambda one: (one.traffic - one.share, one.label, one.value))
    return worth[:most]


def _by_label(slices: Iterable[Slice]) -> list[list[Slice]]:
    labels: dict[str, list[Slice]] = {}
    for one in slices:
        labels.setdefault(one.label, []).append(one)
    return list(labels.values())


def _shares(
    slices: Sequence[Slice], parts: Sequence[float], whole: float, requests: int
) -> list[Contribution]:
    if abs(whole) < 1e-12:
        return []
    return [
        Contribution(
            one.label, one.value, part / whole, one.now_requests / requests, one.now_requests
        )
        for one, part in zip(slices, parts, strict=True)
    ]
