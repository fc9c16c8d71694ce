"""What the totals of a lookback say: one function for each signal of ``rolling``."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from detectors.sliding import Totals
from schemas.signal import SignalName

__all__ = ["MEASURES", "Measure", "Reading"]


@dataclass(frozen=True, slots=True)
class Reading:
    """A value, how many requests stand behind it, and what else a page should say.

    ``value`` None means that nothing is known; it is never 0 in its place.
    """

    value: float | None
    samples: int
    detail: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """How to read a signal off totals: (totals, covered seconds) -> Reading, and what it needs."""

    read: Callable[[Totals, float], Reading]
    sketches: tuple[str, ...] = ()
    whole: bool = False
    """Whether a lookback that is not covered whole says nothing, as a count that is short does."""


def _share(count: str) -> Measure:
    def read(totals: Totals, _: float) -> Reading:
        requests = totals["requests"]
        if not requests:
            return Reading(None, 0)
        return Reading(totals[count] / requests, requests, {count: float(totals[count])})

    return Measure(read)


def _p95(name: str) -> Measure:
    def read(totals: Totals, _: float) -> Reading:
        sketch = totals.sketch(name)
        return Reading(sketch.quantile(0.95), sketch.count)

    return Measure(read, (name,))


def _fallback_rate(totals: Totals, covered_s: float) -> Reading:
    routed = totals["routed"]
    if not routed:
        return Reading(None, 0)
    fallbacks = totals["fallbacks"]
    # Since when they count: what came in force later is not what failed to answer them.
    detail = {"fallbacks": float(fallbacks), "covered_s": covered_s}
    return Reading(fallbacks / routed, routed, detail)


def _request_rate(totals: Totals, covered_s: float) -> Reading:
    requests = totals["requests"]
    if not requests or not covered_s:
        return Reading(None, requests)
    return Reading(requests / covered_s, requests, {"covered_s": covered_s})


def _request_count(totals: Totals, covered_s: float) -> Reading:
    requests = totals["requests"]
    return Reading(float(requests), requests, {"covered_s": covered_s})


def _decode_speed(totals: Totals, _: float) -> Reading:
    sketch = totals.sketch("tpot_s")
    median = sketch.quantile(0.5)
    return Reading(1 / median if median else None, sketch.count)


def _cost_rate(totals: Totals, covered_s: float) -> Reading:
    unknown = totals["cost_unknown"]
    known = totals["requests"] - unknown
    if known <= 0 or not covered_s:
        return Reading(None, 0, {"cost_unknown": float(unknown)} if unknown else {})
    usd = totals["cost_nano_usd"] / 1e9
    detail = {"usd": usd, "cost_unknown": float(unknown), "covered_s": covered_s}
    return Reading(usd / covered_s * 3_600, known, detail)


MEASURES: Final[dict[SignalName, Measure]] = {
    SignalName.ERROR_RATE: _share("errors"),
    SignalName.ABORT_RATE: _share("aborted"),
    SignalName.FALLBACK_RATE: Measure(_fallback_rate),
    SignalName.UNKNOWN_PRICE_RATE: _share("price_unknown"),
    SignalName.REQUEST_RATE: Measure(_request_rate),
    SignalName.REQUEST_COUNT: Measure(_request_count, whole=True),
    SignalName.TTFT_P95: _p95("ttft_s"),
    SignalName.E2E_P95: _p95("e2e_s"),
    SignalName.TPOT_P95: _p95("tpot_s"),
    SignalName.OUTPUT_TOKENS_PER_S: Measure(_decode_speed, ("tpot_s",)),
    SignalName.COST_RATE: Measure(_cost_rate),
}
"""A lookback is covered as far as windows were seen at all, so that a rate that began a minute ago
is not divided by an hour."""
