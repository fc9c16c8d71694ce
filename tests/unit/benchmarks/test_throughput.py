"""A contender that fails is told once and left out; Tocsin's failure ends the measurement."""

from __future__ import annotations

from typing import Any

import pytest

from benchmarks.core import throughput
from benchmarks.core.errors import InexactError, InstallError
from benchmarks.core.measured import Measured
from benchmarks.core.names import BATCHED, SINGLE
from benchmarks.core.registry import CONTENDERS, Contender

NAMES = ("tocsin", "ceiling", "faust", "bytewax")
MADE = [CONTENDERS[name] for name in NAMES]
NOTHING: Any = None


def test_rounds_alternate_and_failures_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, str]] = []

    def run(_broker: Any, contender: Contender, kind: str, _backlog: Any) -> Measured:
        ran.append((kind, contender.name))
        if contender.name == "bytewax":
            raise InstallError("no wheel")
        return Measured(10, 1.0, 1.0, 1.0)

    monkeypatch.setattr(throughput, "_run", run)
    said: list[str] = []
    found = throughput.measure_throughput(NOTHING, NOTHING, MADE, 2, said.append)

    assert ran[:4] == [(SINGLE, name) for name in NAMES]
    assert [name for kind, name in ran if kind == BATCHED] == [
        "tocsin",
        "ceiling",
        "bytewax",
        "ceiling",
        "tocsin",
    ]
    assert {place: len(runs) for place, runs in found.runs.items()} == {
        (SINGLE, "tocsin"): 2,
        (SINGLE, "ceiling"): 2,
        (SINGLE, "faust"): 2,
        (BATCHED, "tocsin"): 2,
        (BATCHED, "ceiling"): 2,
    }
    assert found.as_dict()[SINGLE]["bytewax"] == {"failed": "no wheel"}
    assert sum("bytewax: failed: no wheel" in text for text in said) == 2


def test_tocsins_failure_is_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*_: Any) -> Measured:
        raise InexactError("9 rows of 10")

    monkeypatch.setattr(throughput, "_run", run)
    with pytest.raises(InexactError, match="9 rows"):
        throughput.measure_throughput(NOTHING, NOTHING, MADE, 1, print)
