"""`make kafka`: a broker for whoever has none, which says how it is reached."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys

import pytest

from schemas.settings import load_settings
from schemas.topic_admin import ensure_topics
from schemas.topics import TOPICS
from tests.support.kafka import missing_tools

pytestmark = pytest.mark.kafka
COMMAND = [sys.executable, "-m", "tests.support.kafka_run"]


@pytest.mark.parametrize("secure", [False, True], ids=["plain", "SCRAM over TLS"])
async def test_what_it_prints_is_all_that_tocsin_needs(
    monkeypatch: pytest.MonkeyPatch, secure: bool
) -> None:
    if missing := missing_tools():
        pytest.skip(f"Apache Kafka needs {' and '.join(missing)}")
    command = [*COMMAND, "--port", "0", *(["--secure"] if secure else [])]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as running:  # noqa: ASYNC220
        try:
            assert running.stdout is not None
            # What comes last: by then all is said.
            for line in running.stdout:
                if line.startswith("export "):
                    name, _, value = line.removeprefix("export ").strip().partition("=")
                    monkeypatch.setenv(name, value)
                if line.startswith("export TOCSIN_KAFKA__" + ("CA_FILE" if secure else "SASL")):
                    break
            kafka = load_settings().kafka
            assert kafka.security_protocol == ("SASL_SSL" if secure else "PLAINTEXT")
            assert len(await ensure_topics(kafka)) == len(TOPICS)
        finally:
            running.send_signal(signal.SIGTERM)
        assert running.wait(30) == 0


def test_a_port_that_is_taken_is_named() -> None:
    if missing := missing_tools():
        pytest.skip(f"Apache Kafka needs {' and '.join(missing)}")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = subprocess.run(
            [*COMMAND, "--port", str(port)],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env=dict(os.environ),
        )
    assert done.returncode == 1
    assert f"port {port} is taken" in done.stderr
