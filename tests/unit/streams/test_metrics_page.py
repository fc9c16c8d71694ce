from __future__ import annotations

import re

from serving.emit import counters
from serving.gateway import metrics as gateway_metrics
from serving.otlp import metrics as otlp_metrics
from streams import metrics
from tests.support.metric_docs import METRICS_PAGE, metrics_of, render


def test_the_page_is_in_step_with_the_metrics() -> None:
    assert METRICS_PAGE.read_text() == render(), "run: python -m tests.support.metric_docs"


def test_every_metric_is_exported_named_well_and_explained() -> None:
    found = metrics_of(metrics)
    assert len(found) == len(metrics.__all__)
    others = [m for module in (counters, gateway_metrics, otlp_metrics) for m in metrics_of(module)]
    for metric in [*found, *others]:
        assert re.fullmatch(r"tocsin_[a-z_]+", metric._name)
        assert metric._documentation.endswith(".")
        assert "user" not in " ".join(metric._labelnames)


def test_what_the_page_watches_is_there() -> None:
    known = {
        m._name for module in (metrics, gateway_metrics, otlp_metrics) for m in metrics_of(module)
    }
    _, watched = METRICS_PAGE.read_text().split("## What to watch")
    names = {name.removesuffix("_total") for name in re.findall(r"tocsin_[a-z_]+", watched)}
    assert names
    assert names <= known
