"""`make demo-vllm`, as somebody runs it who wants to see the loop on real servers."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.kafka import missing_tools

pytestmark = pytest.mark.vllm


def test_the_demo_proves_all_and_leaves_nothing_behind(environment: None, tmp_path: Path) -> None:
    """By SCRAM over TLS, which is the demo's harder way."""
    if missing := missing_tools():
        pytest.skip(f"Apache Kafka needs {' and '.join(missing)} (Java 17 and Maven)")
    done = subprocess.run(
        [sys.executable, "-m", "tests.demo_vllm", "--secure"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    print(done.stdout)  # noqa: T201 - the timeline is worth a log's lines
    assert done.returncode == 0, done.stdout[-6_000:] + done.stderr[-3_000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["ok"]
    assert told["difference"] is None
    assert told["requests"] == told["rows"]
    assert told["broken"] > 0
    for story in ("killed", "late_version"):
        assert all(seconds is not None for seconds in told[story].values())
    assert not list(tmp_path.glob("tocsin-demo-vllm-*"))
