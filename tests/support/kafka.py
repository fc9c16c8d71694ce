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
from typing import Final, Literal

from pydantic import SecretStr

from schemas.settings import KafkaSettings
from tests.support.broker import free_port
from tocsin.embedded.broker import broker_answers
from tocsin.embedded.child import Child

__all__ = ["KAFKA_VERSION", "Kafka", "Secured", "kafka_libs", "missing_tools", "running_kafka"]

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
class Secured:
    """A second listener, SASL over TLS: its user, and the authority that signed its certificate."""

    port: int
    username: str
    password: str
    ca_file: Path
    mechanism: Literal["SCRAM-SHA-512"] = "SCRAM-SHA-512"


@dataclass(frozen=True, slots=True)
class Kafka:
    """A running broker: its address, how many seconds it took to answer, and its process."""

    bootstrap: str
    started_s: float
    node: Child
    secured: Secured | None = None

    def settings(self) -> KafkaSettings:
        """Return what a client needs: by SCRAM over TLS where that is listened for."""
        if (secured := self.secured) is None:
            return KafkaSettings(bootstrap=self.bootstrap)
        return KafkaSettings(
            bootstrap=f"{_HOST}:{secured.port}",
            security_protocol="SASL_SSL",
            sasl_mechanism=secured.mechanism,
            username=secured.username,
            password=SecretStr(secured.password),
            ca_file=secured.ca_file,
        )

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
def running_kafka(
    path: Path, libs: Path, timeout_s: float = 60, *, secure: bool = False, port: int = 0
) -> Iterator[Kafka]:
    """Run one KRaft node, broker and controller, with empty topics; end it on leaving.

    With `secure` it listens a second time, for clients with SCRAM over TLS. `port` 0 takes a free
    one.

    Raises:
        RuntimeError: its storage cannot be formatted.
        PartFailedError: it ended at once or did not answer in time; with the end of its log.
    """
    started = time.monotonic()
    port = port or free_port()
    properties = path / "server.properties"
    secured = _certified(path) if secure else None
    properties.write_text(_properties(path / "log", port, free_port(), secured))
    # No shell: Java itself takes the star for every jar of the folder.
    java = ["java", "-Xmx512m", "-Dlog4j2.level=INFO", "-cp", f"{libs}/*"]
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    tool = ["kafka.tools.StorageTool", "format", f"--cluster-id={cluster_id}"]
    if secured is not None:
        user = f"name={secured.username},password={secured.password}"
        tool.append(f"--add-scram={secured.mechanism}=[{user}]")
    _run([*java, *tool, "--config", str(properties)], path, timeout_s)
    node = Child("Kafka", [*java, "kafka.Kafka", str(properties)], path / "kafka.log")
    node.start()
    try:
        node.wait_until(lambda: broker_answers(_HOST, port), timeout_s)
        yield Kafka(f"{_HOST}:{port}", time.monotonic() - started, node, secured)
    finally:
        node.kill()  # nothing of it is kept


def _certified(path: Path) -> Secured:
    """Make a certificate for loopback, its own authority, and a user."""
    key, certificate, store = path / "key.pem", path / "ca.pem", path / "server.p12"
    made = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    made += ["-subj", "/CN=kafka", "-addext", f"subjectAltName=IP:{_HOST}"]
    _run([*made, "-keyout", str(key), "-out", str(certificate)], path, 60)
    packed = ["openssl", "pkcs12", "-export", "-passout", "pass:changeit", "-out", str(store)]
    _run([*packed, "-in", str(certificate), "-inkey", str(key)], path, 60)
    return Secured(free_port(), "tocsin", uuid.uuid4().hex, certificate)


def _properties(
    log_dir: Path, port: int, controller_port: int, secured: Secured | None = None
) -> str:
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
    if secured is not None:
        listener = f",SECURE://{_HOST}:{secured.port}"
        values["listeners"] = f"{values['listeners']}{listener}"
        values["advertised.listeners"] = f"{values['advertised.listeners']}{listener}"
        login = "org.apache.kafka.common.security.scram.ScramLoginModule required;"
        prefix = "listener.name.secure"
        values |= {
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,"
            "SECURE:SASL_SSL",
            "inter.broker.listener.name": "PLAINTEXT",
            f"{prefix}.sasl.enabled.mechanisms": secured.mechanism,
            f"{prefix}.{secured.mechanism.lower()}.sasl.jaas.config": login,
            f"{prefix}.ssl.keystore.type": "PKCS12",
            f"{prefix}.ssl.keystore.location": log_dir.parent / "server.p12",
            f"{prefix}.ssl.keystore.password": "changeit",
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
