"""The store is gone, frozen, full, or its answers are lost: nothing is, and nothing comes twice."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import Start
from tests.faults.scene import Scene, until
from tests.support.broker import free_port
from tests.support.tcp_proxy import running_proxy

pytestmark = pytest.mark.faults

FAILURES: Final = "tocsin_insert_failures_total"
GROWTH_KIB: Final = 64 * 1024
IMPATIENT: Final = {"TOCSIN_CLICKHOUSE__INSERT_TIMEOUT_S": "2"}


def test_workers_wait_for_a_store_that_is_gone_without_filling_memory(
    start: Start, outage_s: float
) -> None:
    # Rates in that time are what memory would be filled with: tens of thousands of events.
    scene = start(workers=2, time_scale=min(2.0, 60 / (outage_s + 30)))
    rig = scene.rig
    scene.load(2_500)
    scene.until_rows(5_000)
    pids = [worker.pid for worker in rig.workers]
    rig.kill_store()
    time.sleep(3)  # what was in flight is in hand
    before = [rig.memory_kib(number) for number in range(2)]
    time.sleep(outage_s)
    growth = [rig.memory_kib(number) - before[number] for number in range(2)]
    rig.start_store()
    rig.wait_for_store()
    scene.check()
    assert [worker.pid for worker in rig.workers] == pids
    print(f"memory grew by {growth} KiB")  # noqa: T201
    assert max(growth) < GROWTH_KIB


def test_a_store_that_freezes_for_longer_than_an_insert_may_take(start: Start) -> None:
    """What it had been told before it froze, it does when it goes on; the retry comes as well."""
    scene = start(workers=2, environment=IMPATIENT)
    scene.load()
    for _ in range(2):
        scene.until_more()
        scene.rig.freeze_store()
        time.sleep(5)
        scene.rig.thaw_store()
    assert _failures(scene) >= 1
    scene.check()


def test_a_dead_workers_insert_that_the_store_does_later(start: Start) -> None:
    """Its partitions' new owner must not take the store's answer from before that insert."""
    scene = start(workers=2)
    rig = scene.rig
    scene.load()
    scene.until_rows(500)
    rig.freeze_store()
    time.sleep(1)  # both have an insert under way
    rig.kill_worker(1)
    time.sleep(2 * rig.session_s)
    rig.thaw_store()
    scene.until_more(300)
    rig.start_worker(1)
    scene.check()


def test_a_store_killed_amid_an_insert_that_nobody_can_repeat(start: Start) -> None:
    """Some of the tables behind ``requests`` have the batch, some have not; its worker is gone."""
    scene = start(workers=2, time_scale=2)
    rig = scene.rig
    scene.load(1_500, batch=10)
    for _ in range(4):
        scene.until_more(1_000)
        rig.kill_store()
        for number in range(2):
            rig.kill_worker(number)
        rig.start_store()
        rig.wait_for_store()
        for number in range(2):
            rig.start_worker(number)
    scene.check()


def test_inserts_that_succeeded_without_our_hearing_of_it(start: Start) -> None:
    port, seen_at = free_port(), free_port()
    with running_proxy(seen_at, port) as proxy:
        scene = start(workers=2, store_port=port, store_seen_at=seen_at, environment=IMPATIENT)
        scene.load()
        unheard = 0
        for number in range(12):
            scene.until_more()
            # Rows that were there when silence fell came of inserts under way; others may not come.
            time.sleep(0.1 * (number % 4))
            failures, before = _failures(scene), scene.row_count
            proxy.mute()
            until(lambda: _failures(scene) > failures + 1)  # noqa: B023 - both heard nothing
            unheard += scene.row_count > before
            proxy.unmute()
            if unheard == 2:
                break
        assert unheard == 2
        scene.check()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Give a file system of its own, 256 MiB, where root may make one."""
    path = tmp_path / "disk"
    path.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=256m", "tmpfs", str(path)],
        capture_output=True,
        text=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"no file system can be made here: {made.stderr.strip()}")
    try:
        yield path
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_a_full_disk_holds_everything_up_until_there_is_room(
    small_disk: Path, start: Start
) -> None:
    scene = start(workers=2, store_path=small_disk / "store")
    scene.load()
    scene.until_rows(1_000)
    ballast = small_disk / "ballast"
    _fill(ballast)
    until(lambda: _failures(scene) >= 2)
    time.sleep(3)
    _fill(ballast)  # what a failed insert left has been cleaned up
    time.sleep(1)
    ballast.unlink()
    scene.check()


def _failures(scene: Scene) -> float:
    for number in range(len(scene.rig.workers)):
        scene.rig.scrape(number)
    return scene.rig.metric(FAILURES)


def _fill(path: Path) -> None:
    """Write until the disk has no byte left."""
    with path.open("ab", buffering=0) as file:
        for size in (1 << 20, 1 << 12, 1):
            with suppress(OSError):
                while file.write(b"\0" * size):
                    pass
