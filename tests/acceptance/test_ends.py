"""How a stack begins and ends: who holds a directory, which port is taken, and nothing left."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.waiting import until_true

FREE = ("--kafka-port", "0", "--clickhouse-port", "0", "--metrics-port", "0")


def up(path: Path, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "tocsin", "up", "--data-dir", str(path), *(arguments or FREE)]


@contextmanager
def running_up(path: Path) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    said = path.parent / "said"
    with said.open("wb") as output:
        process = subprocess.Popen(up(path), stdout=output, stderr=output, start_new_session=True)
    try:
        until_true(lambda: b"Ctrl-C stops" in said.read_bytes() or process.poll() is not None, 60)
        assert process.poll() is None, said.read_text()
        yield process, said
    finally:
        process.terminate()
        process.wait(60)


def children(pid: int) -> list[int]:
    """Return the processes below one, its children's children included."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            found += [int(child), *children(int(child))]
    return found


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_directory_is_held_by_one_and_sigterm_leaves_no_process(tmp_path: Path) -> None:
    path = tmp_path / "data"
    with running_up(path) as (first, said):
        second = subprocess.run(up(path), capture_output=True, text=True, timeout=60, check=False)
        message = " ".join((second.stdout + second.stderr).split())
        assert second.returncode != 0
        assert str(first.pid) in message
        assert "Traceback" not in message

        parts = children(first.pid)
        assert len(parts) >= 4  # broker, store, worker, executor
        first.send_signal(signal.SIGTERM)
        assert first.wait(60) == 0
        assert b"stopped" in said.read_bytes()
        until_true(lambda: not any(map(alive, parts)), 10)


@pytest.mark.parametrize("option", ["--kafka-port", "--clickhouse-port", "--metrics-port"])
def test_a_taken_port_is_named_with_the_option_that_changes_it(tmp_path: Path, option: str) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        arguments = [*FREE]
        arguments[arguments.index(option) + 1] = port
        ended = subprocess.run(
            up(tmp_path / "data", *arguments),
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    message = " ".join((ended.stdout + ended.stderr).split())
    assert ended.returncode != 0
    assert port in message
    assert option in message
    assert "Traceback" not in message
