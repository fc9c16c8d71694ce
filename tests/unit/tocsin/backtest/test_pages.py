"""What a backtest shows: moments, episodes, differences, the page."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from typer.testing import CliRunner

from alerting.policy import Policy
from alerting.rehearsal import Rehearsal
from alerting.rules import RuleSet
from tests.support.broker import free_port
from tests.unit.alerting.drive import EPOCH_US, Drive, rule_of
from tocsin.backtest.episodes import Episode, compare, episodes_of
from tocsin.backtest.moment import parse_moment
from tocsin.backtest.plot import page
from tocsin.cli.main import app

S = 1_000_000


def episode(fired_s: int, resolved_s: int | None, model: str = "a") -> Episode:
    resolved_us = None if resolved_s is None else EPOCH_US + resolved_s * S
    return Episode("errors", {"model": model}, EPOCH_US + fired_s * S, "error", 0.5, resolved_us)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("now", 10**15),
        ("-1h", 10**15 - 3_600 * S),
        ("2026-11-20", 1_795_132_800 * S),
        ("2026-11-20T01:00+01:00", 1_795_132_800 * S),
    ],
)
def test_moments(text: str, us: int) -> None:
    assert parse_moment(text, 10**15) == us


@pytest.mark.parametrize("text", ["", "yesterday", "7d", "-7", "2026-13-01"])
def test_no_moments(text: str) -> None:
    with pytest.raises(ValueError, match=r"no moment|no duration"):
        parse_moment(text, 0)


def test_episodes_are_told_with_their_steps() -> None:
    rule = rule_of()
    rehearsal = Rehearsal(RuleSet(version=1, rules=(rule,)), Policy())
    drive = Drive(rule)
    for at_s in range(0, 100, 10):
        rehearsal.see(drive.signal(at_s, 0.2))
    rehearsal.see(drive.signal(100, 0.0))
    (found,) = episodes_of(rehearsal.said, 0)
    assert (found.fired_us, found.resolved_us) == (EPOCH_US, EPOCH_US + 100 * S)
    assert [(d.step, d.act, d.at_us - EPOCH_US) for d in found.deeds] == [
        ("rollback", "rollback", 60 * S)
    ]
    assert episodes_of(rehearsal.said, EPOCH_US + 100 * S) == []


def test_episodes_that_overlap_are_the_same_ones() -> None:
    before = [episode(0, 100), episode(500, 600), episode(0, None, "b")]
    after = [episode(50, 70), episode(700, 800), episode(900, None, "b")]
    gone, new = compare(before, after)
    assert gone == [before[1]]
    assert new == [after[1]]


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not {"src", "href", "onload"} & {name for name, _ in attrs}


def test_the_page_stands_alone_and_shows_strange_labels_as_text() -> None:
    strange = episode(0, 100, "<script>alert(1)</script>")
    text = page("Backtest", EPOCH_US, EPOCH_US + 200 * S, [strange], [episode(0, 50)], ["<b>"])
    tags = Tags()
    tags.feed(text)
    assert "script" not in tags.tags
    assert tags.tags.count("rect") == 2
    assert "&lt;script&gt;" in text
    assert re.search(r"https?://", text) is None


def test_nothing_is_told_as_nothing() -> None:
    assert "nothing would have fired" in page("Backtest", 0, 1, [], [])


def test_the_command_refuses_what_it_cannot_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PORT", str(free_port()))
    run = lambda *words: CliRunner().invoke(app, ["rules", "backtest", *words])
    assert "is no moment" in run("--from", "soon").output
    assert "later than" in run("--from", "-1h", "--to", "-2h").output
    away = run()
    assert away.exit_code == 2
    assert "no store answers at" in away.output
