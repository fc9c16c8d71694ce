"""The broker is gone for longer than every timeout, and comes back with its log."""

from __future__ import annotations

import time

import pytest

from tests.faults.conftest import Start

pytestmark = pytest.mark.faults


def test_a_broker_that_is_gone_and_comes_back(start: Start, outage_s: float) -> None:
    # What ended while it was away comes late: windows long enough to be corrected still.
    scene = start(workers=2, time_scale=min(2.0, 60 / (outage_s + 30)))
    rig = scene.rig
    scene.load(300)
    scene.until_rows(500)
    pids = [worker.pid for worker in rig.workers]
    if rig.broker.kind == "embedded":  # its log is in memory
        rig.broker.pause()
        time.sleep(outage_s)
        rig.broker.resume()
    else:
        rig.broker.process.kill()
        time.sleep(outage_s)
        rig.broker.process.start()
    rig.broker.wait()
    scene.check()
    assert [worker.pid for worker in rig.workers] == pids
