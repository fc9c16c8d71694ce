"""Workers that come, die, freeze, and share partitions unevenly."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Start
from tests.faults.scene import until

pytestmark = pytest.mark.faults


def test_a_worker_added_during_load_takes_a_share(start: Start) -> None:
    scene = start(workers=1)
    scene.load()
    scene.until_rows(500)
    added = scene.rig.add_worker()
    scene.rig.start_worker(added)
    until(lambda: scene.rig.scrape(added).get(("tocsin_events_total", ""), 0) > 0)
    scene.check()


def test_a_worker_killed_during_load_is_replaced_by_the_other(start: Start) -> None:
    scene = start(workers=2)
    scene.load()
    scene.until_rows(500)
    scene.rig.kill_worker(0)
    scene.check()


def test_a_frozen_worker_that_goes_on_changes_nothing(start: Start) -> None:
    """Others have its partitions when it goes on with what it had in hand."""
    scene = start(workers=2)
    scene.load()
    for number in (0, 1):
        scene.until_more(300)
        scene.rig.stall_worker(number)
        time.sleep(2.5 * scene.rig.session_s)
        scene.rig.resume_worker(number)
    scene.check()


@pytest.mark.parametrize("partitions", [1, 7])
def test_more_and_fewer_partitions_than_workers(start: Start, partitions: int) -> None:
    scene = start(workers=2, partitions=partitions)
    scene.load()
    scene.until_rows(500)
    scene.rig.kill_worker(0)
    scene.until_more(300)
    scene.rig.start_worker(0)
    scene.check()
