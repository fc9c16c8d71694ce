"""What waits in the log longer than a window can be corrected is no late event: windows are exact.

Nobody sent anything late here; it is Tocsin that comes to it late. At this pace windows of one
second are corrected for six.
"""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Start

pytestmark = pytest.mark.faults

AWAY_S = 12


def test_workers_that_were_away_for_longer_than_corrections_last(start: Start) -> None:
    scene = start(workers=2, time_scale=10)
    scene.load()
    scene.until_rows(500)
    for number in range(2):
        scene.rig.kill_worker(number)
    time.sleep(AWAY_S)
    for number in range(2):
        scene.rig.start_worker(number)
    scene.check()


def test_a_store_that_was_away_for_longer_than_corrections_last(start: Start) -> None:
    scene = start(workers=2, time_scale=10)
    scene.load()
    scene.until_rows(500)
    scene.rig.kill_store()
    time.sleep(AWAY_S)
    scene.rig.start_store()
    scene.rig.wait_for_store()
    scene.check()


def test_one_of_two_workers_frozen_for_longer_than_corrections_last(start: Start) -> None:
    """Its partitions say nothing, yet are not idle; the session outlasts the freeze."""
    session = {"TOCSIN_KAFKA__SESSION_TIMEOUT_S": "20", "TOCSIN_KAFKA__HEARTBEAT_INTERVAL_S": "3"}
    scene = start(workers=2, time_scale=10, environment=session)
    scene.load()
    scene.until_rows(500)
    scene.rig.stall_worker(1)
    time.sleep(AWAY_S)
    scene.rig.resume_worker(1)
    scene.check()
