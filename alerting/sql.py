"""The query that shows an incident's numbers, as text for a person to paste."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.base import Labels
from schemas.signal import SignalName

__all__ = ["alerts_since_sql", "incident_sql", "quote"]

_ESCAPES: Final = {
    "\\": "\\\\",
    "'": "\\'",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
    "\0": "\\0",
}


def quote(text: str) -> str:
    """Return a ClickHouse string literal that holds the text, whatever it is."""
    return "'" + "".join(_ESCAPES.get(char, char) for char in text) + "'"


_NULLABLE: Final = frozenset({"feature", "lora_adapter", "plan", "user_id"})

_REQUESTS: Final[dict[SignalName, str]] = {
    SignalName.ERROR_RATE: (
        "countIf(failed) AS errors, round(errors / requests, 4) AS error_rate, "
        "topKIf(3)(error_type, failed) AS error_types"
    ),
    SignalName.ABORT_RATE: "countIf(aborted) AS aborts, round(aborts / requests, 4) AS abort_rate",
    SignalName.REQUEST_RATE: "uniqExact(server) AS servers",
    SignalName.TTFT_P95: "round(quantileDD(0.01, 0.95)(ttft_s * 1e6) / 1e6, 3) AS ttft_p95_s",
    SignalName.E2E_P95: "round(quantileDD(0.01, 0.95)(e2e_s * 1e6) / 1e6, 3) AS e2e_p95_s",
    SignalName.E2E_P95_RATIO: "round(quantileDD(0.01, 0.95)(e2e_s * 1e6) / 1e6, 3) AS e2e_p95_s",
    SignalName.TPOT_P95: "round(quantileDD(0.01, 0.95)(tpot_s * 1e6) / 1e6, 4) AS tpot_p95_s",
    SignalName.OUTPUT_TOKENS_PER_S: (
        "round(1e6 / quantileDD(0.01, 0.5)(tpot_s * 1e6), 1) AS output_tokens_per_s"
    ),
    SignalName.COST_RATE: "sum(cost_usd) AS usd, countIf(cost_usd IS NULL) AS price_unknown",
    SignalName.COST_RATE_RATIO: "sum(cost_usd) AS usd, countIf(cost_usd IS NULL) AS price_unknown",
    SignalName.UNKNOWN_PRICE_RATE: (
        "countIf(cost_usd IS NULL) AS unknown, round(unknown / requests, 4) AS unknown_price_rate"
    ),
}
_TOKENS: Final = "quantiles(0.05, 0.5, 0.95)({0}) AS {0}_quantiles, round(avg({0}), 1) AS {0}_mean"


def incident_sql(signal: SignalName, labels: Labels, since_us: int, over_s: float) -> str:
    """Return the query that shows the numbers behind a signal of one series.

    It starts one lookback before ``since_us`` (the moment the incident began) and has some thirty
    points for each lookback.
    """
    point_s = max(1, round(over_s / 30)) if over_s else 10
    from_text = _time(max(0, since_us - round(max(over_s, 60) * 1e6)))
    if signal is SignalName.QUALITY_SCORE:
        table, time = "evals FINAL", "request_end"
        figures = (
            "countIf(outcome = 'scored') AS scored, count() - scored AS unscored, "
            "round(avg(score), 3) AS mean_score"
        )
        match = [f"labels[{quote(name)}] = {quote(value)}" for name, value in _sorted(labels)]
    elif signal is SignalName.FEEDBACK_POSITIVE_RATE:
        table, time = "feedback FINAL", "at"
        figures = "countIf(thumb = 'up') AS up, countIf(thumb = 'down') AS down"
        match = [f"{name} = {quote(value)}" for name, value in _sorted(labels)]
    elif signal is SignalName.WATERMARK_LAG:
        table, time = "signals FINAL", "window_end"
        figures = "max(value) AS lag_s"
        match = [f"signal = {quote(signal.value)}"]
    else:
        table, time = "requests", "end_time"
        figures = f"count() AS requests, {_figures(signal)}"
        match = [f"{_column(name)} = {quote(value)}" for name, value in _sorted(labels)]
    where = "\n  AND ".join([f"{time} > {from_text}", *match])
    return (
        f"SELECT toStartOfInterval({time}, INTERVAL {point_s} SECOND) AS point,\n"
        f"       {figures}\n"
        f"FROM {table}\n"
        f"WHERE {where}\n"
        "GROUP BY point\n"
        "ORDER BY point"
    )


def alerts_since_sql(since_us: int) -> str:
    """Return the query that shows every transition of every alert since a time."""
    columns = "at, rule, labels, from_phase, to_phase, reason"
    return f"SELECT {columns}\nFROM alerts FINAL\nWHERE at > {_time(since_us)}\nORDER BY at"


def _time(at_us: int) -> str:
    at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=at_us)
    return f"toDateTime64({quote(at.strftime('%Y-%m-%d %H:%M:%S'))}, 6, 'UTC')"


def _figures(signal: SignalName) -> str:
    if signal in _REQUESTS:
        return _REQUESTS[signal]
    column = "input_tokens" if signal.value.startswith("input_tokens") else "output_tokens"
    return _TOKENS.format(column)


def _sorted(labels: Labels) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in labels.items() if name.isidentifier())


def _column(name: str) -> str:
    return f"ifNull({name}, '')" if name in _NULLABLE else name
