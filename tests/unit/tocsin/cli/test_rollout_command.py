"""``tocsin rollout`` at a terminal: what it shows, how it ends, and what it says when it cannot."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from schemas.flag import FlagKey
from serving.flags.store import FlagStore
from serving.rollout.looks import StoreLooks
from serving.rollout.machine import Metric, Outcome
from serving.rollout.sequential import Look
from serving.rollout.steer import Steering
from tests.support.broker import free_port
from tests.support.rollouts import rolled, rollout_flags
from tocsin.cli.main import app

GOOD = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=10)
BAD = Look(stable=9_000, stable_bad=90, canary=1_000, canary_bad=60)
FAST = ("--every", "0.1", "--step-minutes", "0", "--step-requests", "1")


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FlagStore:
    path = tmp_path / "flags.json"
    monkeypatch.setenv("TOCSIN_FLAGS__PATH", str(path))
    monkeypatch.setenv("TOCSIN_CLICKHOUSE__PORT", str(free_port()))
    return rollout_flags(path)


def tocsin(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["rollout", *arguments])
    return result.exit_code, " ".join(result.output.split())


def variant(store: FlagStore, key: FlagKey) -> str:
    return store.read().flag(key).variant


def test_status_draws_the_steps_and_says_what_comes_next(store: FlagStore) -> None:
    assert "no rollout yet; `tocsin rollout start VERSION`" in tocsin("status")[1]
    rolled(store, until_step=2)
    code, shown = tocsin("status")
    assert code == 0
    assert "● shadow ━━━━━━━ ● 5 % ━━━━━━━ ◉ 25 % ╌╌╌╌╌╌╌ ○ 50 % ╌╌╌╌╌╌╌ ○ 100 %" in shown
    assert "v3: running at 25 %, 0 canary requests at this step" in shown
    assert "50 % after 1,500 more canary requests" in shown
    assert "Nobody drives this rollout" in shown
    assert "no sign of harm" in shown
    assert "(back at 80)" in shown


def test_status_shows_what_is_unknown_and_how_it_ended(store: FlagStore) -> None:
    rolled(store, odds={Metric.ERRORS: 5}, missing={Metric.QUALITY: 0})
    _, shown = tocsin("status")
    assert "✕ 5 %" in shown
    assert "v3: aborted at 5 %: errors: " in shown
    assert "worse" in shown
    assert "│ quality │ unknown │ unknown │ unknown" in shown
    assert "Nobody drives" not in shown


def test_status_of_a_promoted_version(store: FlagStore) -> None:
    rolled(store)
    assert "● 50 % ━━━━━━━ ● 100 %" in tocsin("status")[1]


def test_status_names_a_file_that_is_no_rollout(store: FlagStore) -> None:
    Steering(store).path.write_text('{"version": "v3"}')
    code, shown = tocsin("status")
    assert code == 2
    assert "flags.rollout.json:norollout:previous:" in shown.replace(" ", "")


def test_status_says_who_has_changed_the_flags(store: FlagStore) -> None:
    rolled(store, until_step=1)
    store.set_variant(FlagKey.CANARY_PERCENT, "0", by="bob", reason="complaints", at_us=1)
    assert "set to 0 by bob: complaints: the rollout ends at its next look" in tocsin("status")[1]


def test_abort_takes_the_canary_back(store: FlagStore) -> None:
    assert tocsin("abort") == (2, "error: no rollout is under way")
    rolled(store, until_step=2)
    assert variant(store, FlagKey.CANARY_PERCENT) == "25"
    assert tocsin("abort", "complaints") == (0, "v3: aborted at 25 %: complaints")
    assert variant(store, FlagKey.CANARY_PERCENT) == "0"
    assert "complaints" in tocsin("status")[1]


def test_without_a_store_nothing_begins(store: FlagStore) -> None:
    code, said = tocsin("start", "v3")
    assert code == 2
    assert "without it nobody knows how the canary does" in said
    assert "TOCSIN_CLICKHOUSE__HOST" in said
    assert "Traceback" not in said
    assert Steering(store).read() is None
    assert variant(store, FlagKey.SHADOW_PERCENT) == "0"


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> list[Look]:
    """Answer for the store; the last look is repeated."""
    script: list[Look] = []

    def look(self: StoreLooks, version: str, since_us: int, until_us: int) -> dict[Metric, Look]:
        return {Metric.ERRORS: script.pop(0) if len(script) > 1 else script[0]}

    monkeypatch.setattr("tocsin.cli.rollout._store", lambda settings: None)
    monkeypatch.setattr(StoreLooks, "look", look)
    monkeypatch.setenv("TOCSIN_STREAMS__LATENESS_S", "0")
    return script


def test_start_follows_a_good_version_to_the_end(store: FlagStore, looks: list[Look]) -> None:
    looks.append(GOOD)
    code, said = tocsin("start", "v3", *FAST)
    assert code == 0
    assert "v3: running at shadow" in said
    assert "v3: done at 100 %: no worse at any step" in said
    assert variant(store, FlagKey.MODEL_VERSION) == "v3"


def test_start_ends_with_1_when_the_version_is_taken_back(
    store: FlagStore, looks: list[Look]
) -> None:
    looks += [GOOD, GOOD, BAD]
    code, said = tocsin("start", "v3", *FAST)
    assert code == 1
    assert "v3: aborted at 25 %: errors: " in said
    state = Steering(store).read()
    assert state is not None
    assert (state.outcome, state.every_s, state.policy.step_requests) == (Outcome.ABORTED, 0.1, 1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("v9",), "no version v9; there are v1, v2, v3"),
        (("v2",), "v2 is in force already"),
        (("v3", "--alpha", "0.9"), "--alpha"),
        (("v3", "--step-requests", "0"), "--step-requests"),
        ((), "Missing argument"),
    ],
)
def test_start_says_why_it_cannot_begin(
    store: FlagStore, looks: list[Look], arguments: tuple[str, ...], said: str
) -> None:
    code, shown = tocsin("start", *arguments)
    assert code == 2
    assert said in shown


def test_a_second_driver_is_turned_away(store: FlagStore, looks: list[Look]) -> None:
    with Steering(store).held():
        code, said = tocsin("start", "v3")
    assert code == 2
    assert "another process drives the rollout already" in said


def test_a_full_disk_is_told_in_words(
    store: FlagStore, looks: list[Look], monkeypatch: pytest.MonkeyPatch
) -> None:
    rolled(store, until_step=1)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device", "flags.json")

    monkeypatch.setattr("serving.flags.store.replace_file", full)
    code, said = tocsin("abort")
    assert (code, said) == (2, "error: flags.json: cannot be written: No space left on device")
