"""What scripts print becomes a result, or a reason why there is none."""

from __future__ import annotations

import json

import pytest

from benchmarks.core.errors import InexactError, ScriptError
from benchmarks.core.meter import Meter, Moment
from benchmarks.core.peer_run import result_of
from benchmarks.core.tocsin_run import Flush, ended_at, last_line

TOTALS = {"requests": 10, "cost_nano_usd": 1_000_000_000}


def line(**totals: int) -> str:
    figures = {"seconds": 2.0, "cpu_seconds": 1.0, "peak_rss_mb": 50.0}
    return json.dumps({"events": 10, **figures, "totals": {**TOTALS, **totals}})


def test_the_last_line_counts() -> None:
    measured = result_of(f"noise\n{line(requests=3)}\n{line()}\n\x1b[?25h", TOTALS, True, 0.25)
    assert (measured.events_per_s, measured.cpu_s_per_million) == (5.0, 100_000.0)
    assert measured.other == {"broker_cpu_s": 0.25}


def test_wrong_sums_are_no_result() -> None:
    with pytest.raises(ScriptError, match="requests"):
        result_of(line(requests=9), TOTALS, True, 0)
    near = line(cost_nano_usd=1_000_000_500)
    with pytest.raises(ScriptError, match="cost_nano_usd"):
        result_of(near, TOTALS, True, 0)
    assert result_of(near, TOTALS, False, 0).events == 10  # a sum of floats


def test_no_line_is_no_result() -> None:
    with pytest.raises(ScriptError, match="Traceback"):
        result_of("Traceback\n", TOTALS, True, 0)
    with pytest.raises(InexactError, match="Killed"):
        last_line("Killed")


def flush(at_s: float, source: str, up_to: int | None) -> Flush:
    return Flush(Moment(at_s, 0.0), source, up_to)


def test_the_end_is_when_the_slowest_source_is_through() -> None:
    flushes = [
        flush(1.0, "a", 3),
        flush(2.0, "a", None),
        flush(3.0, "a", 9),
        flush(8.0, "a", 9),
        flush(5.0, "b", 0),
    ]
    assert ended_at(flushes, {"a": 10, "b": 1, "empty": 0}) == 5.0
    assert ended_at(flushes, {"a": 4}) == 1.0


def test_a_source_that_is_never_through_is_told() -> None:
    with pytest.raises(InexactError, match="b: no windows up to offset 1"):
        ended_at([flush(1.0, "b", 0)], {"b": 2})


def test_a_meter_measures_from_the_first_start() -> None:
    meter = Meter()
    with pytest.raises(RuntimeError, match="no record"):
        meter.stop()
    meter.start()
    first = meter.first
    meter.start()
    assert meter.first is first
    figures = meter.stop()
    assert figures["seconds"] >= 0
    assert figures["peak_rss_mb"] > 10
