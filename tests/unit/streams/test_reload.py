"""Rules that change while the worker runs: whole and right ones are taken over, others told."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from alerting.errors import RulesError
from alerting.rules import RuleSet
from streams.reload import RulesFile
from tests.unit.streams.test_alert import RULES


def refused() -> float:
    return REGISTRY.get_sample_value("tocsin_rules_refused") or 0.0


def loaded() -> float:
    return REGISTRY.get_sample_value("tocsin_rules_loaded_total") or 0.0


class Watched:
    def __init__(self, path: Path) -> None:
        self.path = path
        self.path.write_text(RULES)
        self.file = RulesFile(path)
        self.taken: list[RuleSet] = []
        self.file.listen(self.taken.append)

    async def write(self, text: str, looks: int = 2) -> None:
        self.path.write_text(text)
        for _ in range(looks):
            await self.file.look()


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "rules.yaml")


async def test_a_changed_file_is_taken_over_once(watched: Watched) -> None:
    before = loaded()
    await watched.file.look()
    await watched.write(RULES.replace("> 1%", "> 2%"), looks=5)
    (rules,) = watched.taken
    assert rules.by_name["errors"].condition.threshold == 0.02
    assert watched.file.rules is rules
    assert (loaded(), refused()) == (before + 1, 0)


async def test_a_file_that_is_still_being_written_is_not_taken_over(watched: Watched) -> None:
    half = RULES.split("  - name: slow")[0]  # reads as a file with one rule less
    await watched.write(half, looks=1)
    await watched.write(RULES.replace("> 1%", "> 2%"), looks=1)
    assert watched.taken == []
    await watched.file.look()
    assert [rules.by_name.keys() for rules in watched.taken] == [{"errors", "slow"}]


async def test_a_file_that_does_not_check_leaves_the_rules_in_force(watched: Watched) -> None:
    old = watched.file.rules
    with capture_logs() as logs:
        await watched.write(RULES.replace("over: 1m", "over: soon"), looks=4)
    assert watched.taken == []
    assert watched.file.rules is old
    assert refused() == 1
    (told,) = [entry for entry in logs if entry["event"] == "rules_refused_old_ones_stay"]
    assert f"{watched.path}:6: rule 'errors': over: 'soon' is no duration" in told["faults"]
    await watched.write(RULES, looks=2)
    assert (refused(), watched.taken) == (0, [])
    await watched.write(RULES.replace("> 1%", "> 3%"))
    assert len(watched.taken) == 1


async def test_a_file_that_is_gone_leaves_the_rules_in_force(watched: Watched) -> None:
    watched.path.unlink()
    with capture_logs() as logs:
        for _ in range(3):
            await watched.file.look()
    assert (refused(), watched.taken) == (1, [])
    assert len(logs) == 1
    await watched.write(RULES)
    assert refused() == 0


async def test_the_shipped_rules_do_not_change() -> None:
    file = RulesFile(None)
    await file.look()
    assert file.rules.by_name["error-rate"]


def test_a_worker_does_not_start_on_a_wrong_file(tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text("version: 2")
    with pytest.raises(RulesError, match=r"rules\.yaml:1: version"):
        RulesFile(tmp_path / "rules.yaml")
