"""Ratios, aims, tables and the page."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.core.aims import aims, ratios
from benchmarks.core.document import document
from benchmarks.core.measured import Measured
from benchmarks.core.names import BATCHED, SINGLE, own_topics, requests_topic
from benchmarks.core.options import parse
from benchmarks.core.registry import CONTENDERS
from benchmarks.core.table import grid, render
from benchmarks.core.throughput import Throughput, rotated
from schemas.topics import TOPICS, Topics


def runs(*per_s: float, **other: float) -> list[Measured]:
    return [Measured(1_000, 1_000 / value, 1.0, 100.0, other) for value in per_s]


@pytest.fixture
def throughput() -> Throughput:
    cpu = {"store_cpu_s": 0.002, "broker_cpu_s": 0.001}
    return Throughput(
        {
            (SINGLE, "tocsin"): runs(100, 300, 120, **cpu),
            (SINGLE, "ceiling"): runs(200, 160, 150),
            (SINGLE, "faust"): runs(3, 3.75, 5),
            (BATCHED, "tocsin"): runs(400, **cpu),
            (BATCHED, "ceiling"): runs(800),
        },
        {(SINGLE, "bytewax"): "no wheel\nfor this Python"},
    )


@pytest.fixture
def report(throughput: Throughput) -> dict[str, Any]:
    percentiles = {"p50": 0.4, "p99": 1.25, "max": 1.5}
    found: dict[str, Any] = {
        "date": "2026-01-02",
        "machine": {
            "processor": "a processor",
            "cores": 2,
            "memory_gb": 8.0,
            "system": "Linux 6",
            "python": "3.11.9",
            "load_before": 0.1,
        },
        "versions": {"faust-streaming": "0.15.3", "commit": "abc1234"},
        "settings": {"events": 1_000, "rounds": 3, "broker": "tansu", "contenders": []},
        "throughput": throughput.as_dict(),
        "ratios": ratios(throughput),
        "latency": [
            {
                "events_per_s": 1_000.0,
                "row_visible_s": percentiles,
                "window_visible_s": {**percentiles, "p99": 13.5},
                "sender_late_p99_s": 0.002,
                "sender_dropped": 12,
                "worker_cpus": 0.25,
                "worker_rss_mb": {"first": 150, "last": 160, "max": 170, "slope_mb_per_min": 0.1},
            }
        ],
        "soak": {
            "events": 5_000,
            "seconds": 50.0,
            "events_per_s": 100.0,
            "ended_by": "time",
            "least_backlog_records": 7,
            "worker_rss_mb": {"first": 150, "last": 160, "max": 170, "slope_mb_per_min": 2.5},
        },
    }
    return {**found, "aims": aims(found)}


def test_ratios_are_of_medians_and_faust_is_of_single_events(throughput: Throughput) -> None:
    found = ratios(throughput)
    assert found[SINGLE] == pytest.approx({"ceiling": 0.75, "faust": 32.0})
    assert found[BATCHED] == pytest.approx({"ceiling": 0.5, "faust": 400 / 3.75})


def test_aims_say_what_is_met(report: dict[str, Any]) -> None:
    met = {one["aim"]: one["met"] for one in report["aims"]}
    assert met == {
        "times ceiling, one event a record": True,
        "times faust, one event a record": True,
        "times ceiling, batch records": False,
        "times faust, batch records": True,
        "row visible, P99 in s, 1,000 events/s": True,
        "closed window visible, P99 in s, 1,000 events/s": False,
        "worker's memory in MB, 1,000 events/s": True,
        "worker's memory in MB, soak": True,
        "its slope in MB a minute": False,
    }


def test_the_tables_hold_the_figures_and_the_failures(report: dict[str, Any]) -> None:
    text = render(report)
    assert "120 (100-300)" in text
    assert "| 0.75 |" in " ".join(text.split())
    assert "Bytewax, batches of its Kafka source failed: no wheel for this Python" in text
    assert "the store used 2.0 and the broker 1.0 CPU seconds a million events" in text
    assert "slope +2.50 MB a minute" in text


def test_every_row_of_a_table_is_as_wide_as_its_head() -> None:
    lines = grid(["contender", "x"], [["a", "1,000,000"], ["longer name", "2"]]).splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[2].endswith(" 1,000,000 |")


def test_the_page_names_machine_versions_and_date(report: dict[str, Any]) -> None:
    page = document(report, 5)
    for words in ("2026-01-02 at abc1234", "2 cores of a processor", "faust-streaming 0.15.3"):
        assert words in page
    assert "make bench" in page
    assert render(report) in page


def test_each_round_begins_with_another() -> None:
    every = list(CONTENDERS.values())
    assert [rotated(every, n)[0] for n in range(len(every))] == every
    assert sorted(rotated(every, 4), key=every.index) == every
    assert rotated([], 1) == []


def test_own_topics_are_all_but_the_requests() -> None:
    names = {topic.name for topic in own_topics("run-1")}
    assert names == {f"run-1.{topic.name}" for topic in TOPICS} - {f"run-1.{Topics.REQUESTS.name}"}
    assert requests_topic(SINGLE) != requests_topic(BATCHED)


def test_options() -> None:
    options = parse(["--contenders", "faust,tocsin,faust", "--latency", "50:30.5", "--events", "9"])
    assert [contender.name for contender in options.contenders] == ["faust", "tocsin"]
    assert options.latency == ((50.0, 30.5),)
    assert (options.events, options.rounds, options.throughput, options.scale) == (
        9,
        3,
        True,
        False,
    )
    assert parse(["--skip-latency"]).latency == ()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--contenders", "spark"], "no such contender: spark"),
        (["--latency", "fast"], "expected RATE:SECONDS"),
        (["--latency", "0:60"], "expected RATE:SECONDS"),
        (["--latency", "1000:10"], "25 s or more"),
        (["--events", "0"], "expected 1 or more"),
    ],
)
def test_wrong_options_are_told(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        parse(arguments)
    assert said in capsys.readouterr().err
