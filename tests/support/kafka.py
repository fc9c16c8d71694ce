"""A real Apache Kafka for tests: its jars by Maven, one KRaft node on free ports of loopback."""

from __future__ import annotations

import base64
import shutil
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.support.broker import free_port
from tocsin.embedded.broker import broker_answers
from tocsin.embedded.child import Child

__all__ = ["KAFKA_VERSION", "Kafka", "kafka_libs", "missing_tools", "running_kafka"]

KAFKA_VERSION: Final = "4.1.0"

_LOG4J_VERSION: Final = "2.24.3"
_HOST: Final = "127.0.0.1"
_DIRECTORY: Final = Path(__file__).parents[2] / ".kafka"
_POM: Final = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tocsin.test</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_2.13</artifactId>
      <version>{KAFKA_VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{_LOG4J_VERSION}</version>
    </dependency>
  </dependencies>
</project>
"""


@dataclass(frozen=True, slots=True)
class Kafka:
    """A running broker: its address, how many seconds it took to answer, and its process."""

    bootstrap: str
    started_s: float
    node: Child

    def restart(self, timeout_s: float = 60) -> float:
        """Start a killed broker again on the log it left; return the seconds until it answered."""
        self.node.start()
        host, port = self.bootstrap.split(":")
        return self.node.wait_until(lambda: broker_answers(host, int(port)), timeout_s)


def missing_tools() -> list[str]:
    """Return which of the programs that Kafka needs here are not installed."""
    return [name for name in ("java", "mvn") if shutil.which(name) is None]


def kafka_libs() -> tuple[Path, float]:
    """Return the folder of Kafka's jars, and the seconds spent to get them: 0 when they are there.

    Raises:
        RuntimeError: Maven cannot get them; with what it printed.
    """
    libs = _DIRECTORY / "libs"
    stamp = _DIRECTORY / "version"
    wanted = f"{KAFKA_VERSION} {_LOG4J_VERSION}"
    if libs.is_dir() and stamp.is_file() and stamp.read_text() == wanted:
        return libs, 0.0
    started = time.monotonic()
    _DIRECTORY.mkdir(exist_ok=True)
    stamp.unlink(missing_ok=True)
    shutil.rmtree(libs, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix="tocsin-kafka-") as project:
        (Path(project) / "pom.xml").write_text(_POM)
        command = ["mvn", "-q", "-B", "dependency:copy-dependencies"]
        command += ["-DincludeScope=runtime", f"-DoutputDirectory={libs}"]
        _run(command, Path(project), 300)
    stamp.write_text(wanted)  # last: a download that was cut short is done again
    return libs, time.monotonic() - started


@contextmanager
def running_kafka(path: Path, libs: Path, timeout_s: float = 60) -> Iterator[Kafka]:
    """Run one KRaft node, broker and controller, with empty topics; end it on leaving.

    Raises:
        RuntimeError: its storage cannot be formatted.
        PartFailedError: it ended at once or did not answer in time; with the end of its log.
    """
    started = time.monotonic()
    port = free_port()
    properties = path / "server.properties"
    properties.write_text(_properties(path / "log", port, free_port()))
    # No shell: Java itself takes the star for every jar of the folder.
    java = ["java", "-Xmx512m", "-Dlog4j2.level=INFO", "-cp", f"{libs}/*"]
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
    _run([*java, *tool, "--config", str(properties)], path, timeout_s)
    node = Child("Kafka", [*java, "kafka.Kafka", str(properties)], path / "kafka.log")
    node.start()
    try:
        node.wait_until(lambda: broker_answers(_HOST, port), timeout_s)
        yield Kafka(f"{_HOST}:{port}", time.monotonic() - started, node)
    finally:
        node.kill()  # nothing of it is kept


def _properties(log_dir: Path, port: int, controller_port: int) -> str:
    """Write the node's settings: Kafka's own defaults, but for what a single node needs."""
    values = {
        "process.roles": "broker,controller",
        "node.id": 1,
        "controller.quorum.voters": f"1@{_HOST}:{controller_port}",
        "controller.listener.names": "CONTROLLER",
        "listeners": f"PLAINTEXT://{_HOST}:{port},CONTROLLER://{_HOST}:{controller_port}",
        "advertised.listeners": f"PLAINTEXT://{_HOST}:{port}",
        "log.dirs": log_dir,
        "auto.create.topics.enable": "false",
        "offsets.topic.replication.factor": 1,
        "transaction.state.log.replication.factor": 1,
        "transaction.state.log.min.isr": 1,
        "group.initial.rebalance.delay.ms": 0,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())


def _run(command: list[str], directory: Path, timeout_s: float) -> None:
    done = subprocess.run(
        command,
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout_s,
        check=False,
    )
    if done.returncode:
        text = done.stdout.decode(errors="replace")[-3_000:]
        raise RuntimeError(f"{command[0]} ended with exit code {done.returncode}:\n{text}")
