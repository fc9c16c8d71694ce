"""The account finds every way in which a request can be lost, doubled or told differently."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.demo_vllm.account import Row, differences
from tests.demo_vllm.traffic import Outcome, Sent

SERVERS = {"v1": "a:1", "v2": "b:1"}


def sent(name: str = "r-0", **fields: Any) -> Sent:
    values: dict[str, Any] = {
        "stream": True,
        "tokens": 8,
        "started_us": 1,
        "outcome": Outcome.ANSWERED,
        "status": 200,
        "echoed_id": name,
    }
    return Sent(name, **{**values, **fields})


ROW = Row("r-0", "e-0", "a:1", "v1", "stable", True, 200, None, False, False, 8, False, True)
BROKEN = {"outcome": Outcome.BROKEN, "said": "engine"}


def test_what_agrees_is_no_difference() -> None:
    failed = replace(ROW, request_id="r-1", event_id="e-1", place=(0, 0, 1))
    failed = replace(failed, error_type="engine_dead", failed=True, joined=False)
    pairs = [sent(), sent("r-1", **BROKEN)], [ROW, failed]
    assert list(differences(*pairs, SERVERS)) == []


@pytest.mark.parametrize(
    ("one", "change", "said"),
    [
        ({}, {"failed": True, "error_type": "x"}, "but its client was answered"),
        (BROKEN, {}, "no failure, but its client says broken: engine"),
        ({"outcome": Outcome.CUT}, {}, "its client says cut"),
        ({"outcome": Outcome.LOST, "said": "reset"}, {}, "its client says lost: reset"),
        ({"outcome": Outcome.UNDER_WAY}, {}, "its client says under way"),
        ({"status": 502, "outcome": Outcome.REFUSED}, {"failed": True}, "status 200"),
        ({}, {"aborted": True}, "aborted"),
        ({}, {"stream": False}, "stream is False"),
        ({}, {"joined": False}, "the engine's view is missing"),
        ({}, {"output_tokens": 7}, "7 tokens of 8"),
        ({}, {"output_tokens": None}, "None tokens of 8"),
        ({"told_tokens": 9}, {}, "its client was told 9"),
        ({}, {"tokens_estimated": True}, "about 8 tokens"),
        ({}, {"server": "b:1"}, "where that version is not"),
        ({"echoed_id": "other"}, {}, "told the id other"),
    ],
)
def test_what_differs_is_said(one: dict[str, Any], change: dict[str, Any], said: str) -> None:
    found = list(differences([sent(**one)], [replace(ROW, **change)], SERVERS))
    assert any(said in text for text in found), found


def test_lost_doubled_and_strange_requests_are_said() -> None:
    twice = replace(ROW, event_id="e-1", place=(0, 0, 1))
    assert list(differences([sent()], [], SERVERS)) == ["r-0: 0 rows; its client says answered"]
    [said] = differences([sent()], [ROW, twice], SERVERS)
    assert said == "r-0: 2 rows; its client says answered"
    [said] = differences([], [ROW], SERVERS)
    assert said == "r-0: nobody has sent it, but there is a row"
    repeated = list(differences([sent()], [ROW, ROW], SERVERS))
    assert "event_id e-0 stands 2 times" in repeated
    assert any("place" in text for text in repeated)
    assert "r-0 was sent 2 times" in list(differences([sent(), sent()], [ROW], SERVERS))
