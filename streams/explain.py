"""Ask the store which labels carry the change behind an incident."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, Protocol

from alerting.intent import NotificationIntent, Share
from detectors.contribution import (
    Contribution,
    Slice,
    ratio_contributions,
    sum_contributions,
    telling,
)
from schemas.signal import SIGNALS, SignalName

__all__ = ["Explainer", "Queries"]

_LONGEST_US: Final = 3_600_000_000
_SHORTEST_US: Final = 60_000_000
_DIMENSIONS: Final = {
    "model_version": "model_version",
    "provider": "provider",
    "server": "server",
    "route": "route",
    "feature": "ifNull(feature, '')",
    "plan": "ifNull(plan, '')",
    "lora_adapter": "ifNull(lora_adapter, '')",
}
"""The labels that are looked at, and their columns; users are too many to be told."""

_RATIOS: Final = {
    SignalName.ERROR_RATE: "failed",
    SignalName.ABORT_RATE: "aborted",
    SignalName.FALLBACK_RATE: "route = 'fallback'",
    SignalName.UNKNOWN_PRICE_RATE: "cost_usd IS NULL",
}
_SLOWER: Final = {
    SignalName.E2E_P95: "e2e_s",
    SignalName.E2E_P95_RATIO: "e2e_s",
    SignalName.TTFT_P95: "ttft_s",
    SignalName.TPOT_P95: "tpot_s",
    SignalName.OUTPUT_TOKENS_PER_S: "tpot_s",
}
"""A percentile has no parts; how many requests are slower than 95 % were before has."""

_SUMS: Final = {
    SignalName.COST_RATE: "toFloat64(ifNull(cost_usd, 0))",
    SignalName.COST_RATE_RATIO: "toFloat64(ifNull(cost_usd, 0))",
    SignalName.REQUEST_RATE: "1",
}


class Queries(Protocol):
    """What answers queries: the store."""

    async def query(
        self, sql: str, parameters: dict[str, Any] | None = None
    ) -> list[tuple[Any, ...]]:
        """Return the rows of a query; see ``Store.query``."""


class Explainer:
    """Compares an incident's requests with those before, over the whole of its model.

    Not over its series alone: of a version that is bad only the comparison with the others tells.
    """

    def __init__(self, store: Queries) -> None:
        self._store = store

    async def shares(self, intent: NotificationIntent) -> tuple[Share, ...]:
        """Return which label values carry the change, the most telling first; none if unknown.

        Raises:
            StoreUnavailableError, StoreRefusedError, AbandonedError: as the store answered.
        """
        measure = _measure(intent.signal)
        if measure is None:
            return ()
        over_us = min(max(round(intent.over_s * 1e6), _SHORTEST_US), _LONGEST_US)
        cut_us = max(0, intent.firing_since_us - over_us)
        before_us = max(0, cut_us - max(over_us, 10 * _SHORTEST_US))
        rows = await self._store.query(
            _query(measure, "model" in intent.labels),
            {
                "before": before_us,
                "cut": cut_us,
                "until": intent.at_us,
                "model": intent.labels.get("model", ""),
            },
        )
        slices = [Slice(str(label), str(value), *map(float, rest)) for label, value, *rest in rows]  # type: ignore[arg-type]
        if intent.signal in _SUMS:
            now_s, before_s = (intent.at_us - cut_us) / 1e6, (cut_us - before_us) / 1e6
            found = sum_contributions(slices, before_s, now_s) if now_s > 0 < before_s else []
        else:
            found = ratio_contributions(slices)
        return _told(telling(found), slices, rates=intent.signal in _RATIOS)


def _measure(signal: str) -> str | None:
    try:
        asked = SignalName(signal)
    except ValueError:  # such as that of a delivery that fails
        return None
    # What is derived from a quantity, such as its ratio to the baseline, changes as that does.
    name = SIGNALS[asked].of or asked
    if name in _SLOWER:
        return f"ifNull({_SLOWER[name]} > usual, false)"
    return _RATIOS.get(name) or _SUMS.get(name)


def _query(measure: str, of_model: bool) -> str:
    where = "WHERE end_time > fromUnixTimestamp64Micro({before:Int64}, 'UTC')"
    where += "\n  AND model = {model:String}" if of_model else ""
    usual = ""
    if "usual" in measure:
        column = measure.removeprefix("ifNull(").split(" ", maxsplit=1)[0]
        until = "AND end_time <= fromUnixTimestamp64Micro({cut:Int64}, 'UTC')"
        lines = [f"SELECT quantileTDigest(0.95)({column})", "FROM requests", where, f"  {until}"]
        usual = "WITH (" + "\n".join(lines) + ") AS usual\n"
    pairs = ", ".join(
        f"('{label}', {column})"
        for label, column in _DIMENSIONS.items()
        if not measure.startswith(f"{column} ")  # what the measure itself looks at tells nothing
    )
    return "\n".join(
        [
            f"{usual}SELECT pair.1 AS label, pair.2 AS value, countIf(NOT now), sumIf(m, NOT now),",
            "       countIf(now), sumIf(m, now)",
            "FROM",
            "(",
            "SELECT end_time > fromUnixTimestamp64Micro({cut:Int64}, 'UTC') AS now,",
            f"       toFloat64({measure}) AS m, [{pairs}] AS pairs",
            "FROM requests",
            where,
            "  AND end_time <= fromUnixTimestamp64Micro({until:Int64}, 'UTC')",
            ")",
            "ARRAY JOIN pairs AS pair",
            "GROUP BY label, value",
            "ORDER BY label, value",
            "LIMIT 1000 BY label",
        ]
    )


def _told(
    contributions: Sequence[Contribution], slices: Sequence[Slice], *, rates: bool
) -> tuple[Share, ...]:
    known = {(one.label, one.value): one for one in slices}
    shares = []
    for one in contributions:
        part = known[one.label, one.value]
        shares.append(
            Share(
                label=one.label,
                value=one.value,
                share=one.share,
                traffic=one.traffic,
                before=_rate(part.before_sum, part.before_requests) if rates else None,
                now=_rate(part.now_sum, part.now_requests) if rates else None,
                requests=int(one.requests),
            )
        )
    return tuple(shares)


def _rate(bad: float, requests: float) -> float | None:
    return bad / requests if requests else None
