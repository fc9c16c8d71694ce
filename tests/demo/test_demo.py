"""The main job, as a newcomer runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.demo


def test_the_demo_rings_once_and_leaves_nothing_behind(tmp_path: Path) -> None:
    environment = {**os.environ, "HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-m", "tocsin", "demo"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    print(done.stdout)  # noqa: T201 - the closing timeline is worth a CI log's lines
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-3_000:]
    assert "The bell rang, the rollback held, nothing was lost." in done.stdout
    assert "FAIL" not in done.stdout
    assert not list(tmp_path.glob("tocsin-demo-*"))


def test_the_demo_refuses_a_directory_with_something_in_it(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("precious")
    done = subprocess.run(
        [sys.executable, "-m", "tocsin", "demo", "--data-dir", str(tmp_path)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious"
