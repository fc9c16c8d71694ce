"""The query that shows an incident's numbers, as text for a person to paste."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Final

from schemas.base import Labels
from schemas.signal import SIGNALS, SignalName

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

_P95: Final = "round(quantileDD(0.01, 0.95)({0}_s * 1e6) / 1e6, 4) AS {0}_p95_s"

_REQUESTS: Final[dict[SignalName, str]] = {
    SignalName.ERROR_RATE: (
        "countIf(failed) AS errors, round(errors / requests, 4) AS error_rate, "
        "topKIf(3)(error_type, failed) AS error_types"
    ),
    SignalName.ABORT_RATE: "countIf(aborted) AS aborts, round(aborts / requests, 4) AS abort_rate",
    SignalName.FALLBACK_RATE: (
        "countIf(route = 'fallback') AS fallbacks, "
        "round(fallbacks / countIf(route != ''), 4) AS fallback_rate, "
        "topKIf(3)(model_version, route = 'fallback') AS stand_ins"
    ),
    SignalName.REQUEST_RATE: "uniqExact(server) AS servers",
    SignalName.REQUEST_COUNT: "uniqExact(server) AS servers",
    SignalName.TTFT_P95: _P95.format("ttft"),
    SignalName.E2E_P95: _P95.format("e2e"),
    SignalName.TPOT_P95: _P95.format("tpot"),
    SignalName.OUTPUT_TOKENS_PER_S: (
        "round(1e6 / quantileDD(0.01, 0.5)(tpot_s * 1e6), 1) AS output_tokens_per_s"
    ),
    SignalName.COST_RATE: "sum(cost_usd) AS usd, countIf(cost_usd IS NULL) AS price_unknown",
    SignalName.UNKNOWN_PRICE_RATE: (
        "countIf(cost_usd IS NULL) AS unknown, round(unknown / requests, 4) AS unknown_price_rate"
    ),
}
_ENGINE: Final = frozenset(
    {
        SignalName.GPU_UTILIZATION,
        SignalName.KV_CACHE_USAGE,
        SignalName.WAITING_REQUESTS,
        SignalName.PREFIX_CACHE_HIT_RATE,
        SignalName.SPEC_DECODE_ACCEPTANCE_RATE,
        SignalName.ENGINE_SAMPLE_COUNT,
    }
)
_ENGINE_LABELS: Final = frozenset({"server", "engine_index", "model"})
_TOKENS: Final = "quantiles(0.05, 0.5, 0.95)({0}) AS {0}_quantiles, round(avg({0}), 1) AS {0}_mean"


def incident_sql(signal: SignalName, labels: Labels, since_us: int, over_s: float) -> str:
    """Return the query that shows the numbers behind a signal of one series.

    It starts one lookback before ``since_us`` (the moment the incident began) and has some thirty
    points for each lookback.
    """
    point_s = max(1, round(over_s / 30)) if over_s else 10
    from_text = _time(max(0, since_us - round(max(over_s, 60) * 1e6)))
    if signal in {SignalName.QUALITY_SCORE, SignalName.SCORE_COUNT}:
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
    elif signal in _ENGINE:
        table, time = "engine_samples FINAL", "at"
        figures = (
            "count() AS samples, round(avg(gpu_utilization), 3) AS gpu, "
            "round(avg(kv_cache_usage), 3) AS kv_cache, max(waiting_requests) AS waiting, "
            "max(running_requests) AS running, "
            "round(avg(spec_decode_acceptance_rate), 3) AS acceptance"
        )
        match = [
            f"toString({name}) = {quote(value)}"
            for name, value in _sorted(labels)
            if name in _ENGINE_LABELS
        ]
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
    quantity = SIGNALS[signal].of or signal
    if quantity in _REQUESTS:
        return _REQUESTS[quantity]
    column = "input_tokens" if signal.value.startswith("input_tokens") else "output_tokens"
    return _TOKENS.format(column)


def _sorted(labels: Labels) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in labels.items() if name.isidentifier())


def _column(name: str) -> str:
    return f"ifNull({name}, '')" if name in _NULLABLE else name
