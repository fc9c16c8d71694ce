from __future__ import annotations

from pathlib import Path

import pytest

from tocsin.demo.scenario import Scenario
from tocsin.replay.traces import TraceError, read_trace

AZURE = """TIMESTAMP,ContextTokens,GeneratedTokens
2023-11-16 18:17:03.9799600,4808,10
2023-11-16 18:17:04.0319600,3180,8
"""


def test_an_azure_trace_begins_at_zero(tmp_path: Path) -> None:
    path = tmp_path / "azure.csv"
    path.write_text(AZURE)
    first, second = read_trace(path)
    assert (first.offset_s, first.input_tokens, first.output_tokens) == (0, 4808, 10)
    assert second.offset_s == pytest.approx(0.052, abs=1e-6)


@pytest.mark.parametrize(
    "lines",
    [
        '{"timestamp": 27000, "input_length": 6955, "output_length": 52, "hash_ids": [1]}\n'
        '{"timestamp": 30000, "input_length": 6472, "output_length": 26, "hash_ids": [2]}\n',
        '{"offset_s": 27, "input_tokens": 6955, "output_tokens": 52}\n'
        '{"offset_s": 30, "input_tokens": 6472, "output_tokens": 26}\n',
    ],
)
def test_json_lines_of_either_kind(tmp_path: Path, lines: str) -> None:
    path = tmp_path / "trace.jsonl"
    path.write_text(lines)
    assert [(a.offset_s, a.input_tokens) for a in read_trace(path)] == [(0, 6955), (3, 6472)]


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("a.csv", "TIMESTAMP,ContextTokens,GeneratedTokens\nyesterday,1,1\n", "line 2"),
        ("a.csv", "when,how many\n1,2\n", "line 2"),
        ("a.jsonl", '{"timestamp": 1, "input_length": 1, "output_length": 1}\n{\n', "line 2"),
        ("a.jsonl", '{"hello": 1}\n', "line 1"),
        ("a.csv", "", "no requests"),
    ],
)
def test_a_wrong_trace_names_file_and_line(tmp_path: Path, name: str, text: str, said: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(TraceError, match=said) as caught:
        read_trace(path)
    assert str(path) in str(caught.value)


def test_the_demos_trace_covers_its_script() -> None:
    scenario = Scenario()
    arrivals = scenario.arrivals()
    assert len(arrivals) > 2_000
    assert scenario.promote_at_s < scenario.outage_at_s < arrivals[-1].offset_s / scenario.speed
