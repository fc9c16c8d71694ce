"""Writes docs/metrics.md from the metrics: ``python -m tests.support.metric_docs``."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from prometheus_client.metrics import MetricWrapperBase

from serving.emit import counters
from serving.gateway import metrics as gateway_metrics
from serving.otlp import metrics as otlp_metrics
from streams import metrics

__all__ = ["METRICS_PAGE", "metrics_of", "render"]

METRICS_PAGE = Path(__file__).parents[2] / "docs/metrics.md"

_INTRODUCTION = """\
# Metrics

<!-- Made by `python -m tests.support.metric_docs` from the code; a test keeps the two in step. -->

Prometheus' text format. User ids are never labels: their number has no bound.
"""

_WORKER = """\
## Of a worker

At `http://HOST:PORT/metrics`, as `TOCSIN_STREAMS__METRICS_HOST` and `_METRICS_PORT` say (9464).
What requests took and cost is in ClickHouse and on `llm.signals`; these tell how Tocsin itself is.
"""

_EMITTER = """\
## Of the emitter

In the model server's own `/metrics`, beside vLLM's.
"""

_GATEWAY = """\
## Of the gateway

At `http://HOST:PORT/metrics`, as `TOCSIN_GATEWAY__METRICS_HOST` and `_METRICS_PORT` say (9470),
beside the emitter's.
"""

_OTLP = """\
## Of the OTLP receiver

At `http://HOST:PORT/metrics`, as `TOCSIN_OTLP__METRICS_HOST` and `_METRICS_PORT` say (9467).
"""

_LABELS = {
    "`topic`, `table`": "a topic of [events.md](events.md), a table of the store",
    "`how`": "`event_id`: a producer sent it twice; `replay`: read again after a crash",
    "`reason`": "of dead letters: see [events.md](events.md)",
    "`correction`": "`yes`: a window that was closed before, closed anew with what came late",
    "`outcome` of evals": "`scored`, `no_text`, `judge_error`, `bad_answer`, `skipped`: no room",
    "`outcome` of notifications": "`sent`, `retried`, `given_up`, `repeated`, `superseded`: by a "
    "newer state of the incident",
    "`source`": "`performance`, `drift`, `cost`, `quality`, `feedback`",
}

_WATCH = {
    "tocsin_watermark_lag_seconds > 60": "rules hold: they will not decide on half a window",
    "rate(tocsin_insert_failures_total[5m]) > 0": "the store is away; the log keeps what comes",
    "increase(tocsin_dead_letters_total[5m]) > 0": "somebody sends what is no event: "
    "`SELECT * FROM dead_letters`",
    "increase(tocsin_messages_refused_total[5m]) > 0": "two versions of Tocsin share topics",
    'increase(tocsin_notifications_total{outcome="given_up"}[1h]) > 0': "a receiver was not "
    "reached: somebody was not told",
    "increase(tocsin_window_failures_total[5m]) > 0": "a fault of Tocsin's; its log has it",
    "increase(tocsin_detector_failures_total[5m]) > 0": "the same, in a detector",
    "increase(tocsin_rule_failures_total[5m]) > 0": "the same, in a rule",
    "tocsin_late_requests > 0": "requests came later than a window can be corrected; "
    "their rows are there",
    "tocsin_gateway_flags_valid == 0": "the gateway cannot use the flag file and keeps the last "
    "good flags",
    "increase(tocsin_gateway_unjoined_total[5m]) > 0": "requests are counted twice: gateway and "
    "server have different tokens",
    "rate(tocsin_otlp_broker_failures_total[5m]) > 0": "spans wait with those who send them",
    'increase(tocsin_otlp_spans_total{outcome="refused"}[5m]) > 0': "spans tell what cannot be: "
    "`SELECT * FROM dead_letters WHERE topic = 'otlp.traces'`",
    "increase(tocsin_gateway_ejections_capped_total[5m]) > 0": "more upstreams fail than may be "
    "ejected",
}


def metrics_of(module: ModuleType) -> list[MetricWrapperBase]:
    """Return a module's metrics, in the order of their definition."""
    return [value for value in vars(module).values() if isinstance(value, MetricWrapperBase)]


def render() -> str:
    """Return the page."""
    parts = [
        _INTRODUCTION,
        f"{_WORKER}\n{_table(metrics)}",
        f"{_EMITTER}\n{_table(counters)}",
        f"{_GATEWAY}\n{_table(gateway_metrics)}",
        f"{_OTLP}\n{_table(otlp_metrics)}",
        "## Label values\n\n| label | values |\n|---|---|\n"
        + "".join(f"| {label} | {values} |\n" for label, values in _LABELS.items()),
        "## What to watch\n\n| expression | means |\n|---|---|\n"
        + "".join(f"| `{expression}` | {meaning} |\n" for expression, meaning in _WATCH.items()),
    ]
    return "\n".join(parts)


def _table(module: ModuleType) -> str:
    return "".join(
        [
            "| metric | kind | labels | meaning |\n|---|---|---|---|\n",
            *(f"| {' | '.join(_row(metric))} |\n" for metric in metrics_of(module)),
        ]
    )


def _row(metric: Any) -> Iterator[str]:
    # Prometheus' client appends what a counter's name has to end with.
    name = f"{metric._name}_total" if metric._type == "counter" else metric._name
    yield f"`{name}`"
    yield metric._type
    yield ", ".join(f"`{label}`" for label in metric._labelnames)
    yield metric._documentation


if __name__ == "__main__":
    METRICS_PAGE.write_text(render())
