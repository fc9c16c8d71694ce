"""The crash matrix with small numbers; ``python -m tests.chaos_alerts`` has the large ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos_alerts.matrix import Rig
from tests.chaos_alerts.rig import NOTIFIERS, POINTS


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    with Rig.running() as running:
        yield running


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("notifier", NOTIFIERS)
def test_a_kill_loses_no_message_changes_no_key_and_repeats_no_action(
    rig: Rig, notifier: str, point: str
) -> None:
    outcome = rig.run(notifier, point, seed=0)
    assert outcome.violations == []
    assert outcome.killed
    assert outcome.actions == 1


def test_a_worker_that_commits_before_its_changelog_is_found_out(rig: Rig) -> None:
    outcomes = [
        rig.run("webhook", point, seed, careless=True)
        for point in ("after_intent", "before_send")
        for seed in range(3)
    ]
    assert any(outcome.violations for outcome in outcomes)
