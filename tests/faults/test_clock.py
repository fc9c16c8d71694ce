"""The clock of a worker's machine jumps (libfaketime); nothing is lost, doubled or refused."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Final

import pytest

from tests.faults.conftest import Start

pytestmark = pytest.mark.faults

MENDED: Final = Path(__file__).parents[1] / "support/faketime"
LIBRARY: Final = next(iter(sorted(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1"))), None)


@pytest.mark.skipif(LIBRARY is None, reason="libfaketime is not installed (Debian: libfaketime)")
def test_a_clock_that_jumps_forwards_and_back(start: Start, tmp_path: Path) -> None:
    told = tmp_path / "clock"
    tell(told, 0)
    scene = start(
        workers=2,
        environment={
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(told),
            "FAKETIME_NO_CACHE": "1",
            # Only the clock on the wall jumps, as NTP or an operator makes it.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        },
    )
    scene.load()
    for offset_s in (+40, 0, -40, 0):  # skew of less than TOCSIN_STREAMS__FUTURE_S
        scene.until_more()
        tell(told, offset_s)
        time.sleep(2)
    scene.check()


def tell(told: Path, offset_s: int) -> None:
    """Set the offset in one step: workers read the file at each look at the clock."""
    new = told.with_suffix(".new")
    new.write_text(f"{offset_s:+d}\n")
    new.replace(told)
