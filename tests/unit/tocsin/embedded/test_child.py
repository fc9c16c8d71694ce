from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tocsin.embedded.child import Child
from tocsin.embedded.errors import PartFailedError, PortTakenError
from tocsin.embedded.ports import choose_port


def _python(tmp_path: Path, code: str) -> Child:
    return Child("part", [sys.executable, "-c", code], tmp_path / "part.log")


def test_a_part_that_ends_is_told_with_the_end_of_its_log(tmp_path: Path) -> None:
    child = _python(tmp_path, "print('no disk left'); raise SystemExit(3)")
    child.start()
    with pytest.raises(PartFailedError, match=r"exit code 3[\s\S]*no disk left"):
        child.wait_until(lambda: False, timeout_s=20)
    assert child.stop() == 3


def test_a_part_that_is_never_ready_is_told(tmp_path: Path) -> None:
    child = _python(tmp_path, "import time; time.sleep(60)")
    child.start()
    with pytest.raises(PartFailedError, match="not ready"):
        child.wait_until(lambda: False, timeout_s=0.2)
    child.stop()


def test_a_part_that_will_not_end_is_killed(tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    child = _python(
        tmp_path,
        "import signal, time, pathlib; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
        f"pathlib.Path({str(ready)!r}).touch(); time.sleep(60)",
    )
    child.start()
    child.wait_until(ready.exists)
    pid = child.pid
    assert pid is not None
    child.stop(timeout_s=0.2)
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.skipif(shutil.which("setpriv") is None, reason="needs util-linux's setpriv")
def test_a_part_ends_with_a_launcher_that_was_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from tocsin.embedded.child import Child;"
        f"child = Child('part', ['sleep', '600'], Path({str(tmp_path / 'log')!r}));"
        "child.start(); print(child.pid, flush=True); time.sleep(600)"
    )
    launcher = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert launcher.stdout is not None
    pid = int(launcher.stdout.readline())
    while Path(f"/proc/{pid}/comm").read_text().strip() != "sleep":  # setpriv has not asked yet
        time.sleep(0.01)
    launcher.kill()
    launcher.wait()
    deadline = time.monotonic() + 20
    while Path(f"/proc/{pid}/stat").exists() and time.monotonic() < deadline:
        if Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z":
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists()


def test_a_taken_port_names_part_port_and_option() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PortTakenError, match=f"port {port} is taken.*--kafka-port"):
            choose_port("broker", port, "--kafka-port")


def test_port_zero_is_a_free_one() -> None:
    assert choose_port("broker", 0, "--kafka-port") > 1_024
