from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tocsin.embedded.store.errors import DirectoryHeldError
from tocsin.embedded.store.lock import LOCK_NAME, DirectoryLock

NOON = datetime(2026, 11, 24, 12, tzinfo=UTC)


def test_the_second_holder_is_told_who_holds_it(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path / "new", lambda: NOON):
        second = DirectoryLock(tmp_path / "new", lambda: NOON)
        with pytest.raises(DirectoryHeldError) as caught:
            second.acquire()
        assert caught.value.pid == os.getpid()
        assert caught.value.since == "2026-11-24T12:00:00+00:00"
        assert str(os.getpid()) in str(caught.value)
    second.acquire()
    second.release()


@pytest.mark.parametrize("left", ["", "garbage", '{"pid": 1, "since": "2020-01-01"}', "[]"])
def test_a_lock_file_that_nobody_holds_is_no_obstacle(tmp_path: Path, left: str) -> None:
    (tmp_path / LOCK_NAME).write_text(left)
    with DirectoryLock(tmp_path, lambda: NOON):
        assert f'"pid": {os.getpid()}' in (tmp_path / LOCK_NAME).read_text()


def test_a_holder_that_has_not_written_yet_is_reported_without_a_pid(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, lambda: NOON):
        (tmp_path / LOCK_NAME).write_text("")
        with pytest.raises(DirectoryHeldError, match="another process"):
            DirectoryLock(tmp_path, lambda: NOON).acquire()
