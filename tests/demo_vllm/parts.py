"""Everything that runs in the demo: Kafka, Tocsin's stack, receiver, two vLLM servers, gateway."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any, Final, Self

import httpx
import yaml
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import store_client
from schemas.settings import Settings
from serving.flags.store import FlagStore
from serving.gateway.first_flags import first_flags
from serving.gateway.keys import hash_key, new_key
from serving.gateway.model import GatewayFile
from tests.acceptance.running import metric
from tests.demo_vllm.scenario import DEAD, GOOD, LATE, MODEL, PROVIDER, RULES, SERVED, Scenario
from tests.demo_vllm.traffic import now_us
from tests.support.kafka import KAFKA_VERSION, Kafka, kafka_libs, running_kafka
from tests.support.vllm.cases import API_KEY
from tests.support.vllm.server import Running, launched
from tocsin.embedded.child import Child
from tocsin.embedded.ports import LOOPBACK, choose_port
from tocsin.embedded.stack import Stack, StackOptions
from tocsin.receiver.process import Receiver

__all__ = ["FIRST", "SECOND", "Parts"]

FIRST: Final = "vllm-a"
SECOND: Final = "vllm-b"
_MIDDLEWARE: Final = "serving.emit.middleware.TocsinMiddleware"
_SLACK_TOKEN: Final = "xoxb-demo"  # the local receiver's, made up
_ROUTING_KEY: Final = "e" * 32
_KEY_VARIABLE: Final = "VLLM_DEMO_KEY"
_ONE_THREAD: Final = {"OMP_NUM_THREADS": "1", "VLLM_CPU_OMP_THREADS_BIND": "nobind"}
"""Engines that spin on every core would starve each other and their clients."""


class Parts:
    """Starts all of it in order and stops it in the reverse one; a context manager.

    Args:
        settings: the base of every process's settings.
        scenario: whose time scale the rules run by.
        data_dir: where everything is kept.
        secure: whether everything speaks to Kafka by SCRAM over TLS.
        tell: hears what is being done.
    """

    kafka: Kafka
    stack: Stack
    client: Client
    flags: FlagStore
    first: Running
    second: Running

    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        data_dir: Path,
        *,
        secure: bool,
        tell: Callable[[str], None],
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._data_dir = data_dir.resolve()
        self._secure = secure
        self._tell = tell
        self._exit = ExitStack()
        self._token = secrets.token_urlsafe(24)
        self.key = new_key()
        self.ports = {name: choose_port(name, 0, "") for name in (FIRST, SECOND, "gateway")}
        self._metrics_port = choose_port("gateway's /metrics", 0, "")
        self.started_s: dict[str, float] = {}
        self.receiver = Receiver(slack_token=_SLACK_TOKEN, pagerduty_routing_key=_ROUTING_KEY)

    @property
    def gateway_url(self) -> str:
        """Return where OpenAI's clients find the gateway."""
        return f"http://{self.address('gateway')}/v1"

    def address(self, name: str) -> str:
        """Return host and port of a vLLM server, or of the gateway."""
        return f"{LOOPBACK}:{self.ports[name]}"

    def gateway_metric(self, name: str, **labels: str) -> float:
        """Return a metric of the gateway."""
        return metric(f"http://{LOOPBACK}:{self._metrics_port}/metrics", name, **labels)

    def server_metric(self, server: str, name: str, **labels: str) -> float:
        """Return a metric of a vLLM server."""
        return metric(f"http://{self.address(server)}/metrics", name, **labels)

    def check(self) -> None:
        """Raise when a part that has to run has ended.

        Raises:
            PartFailedError, RuntimeError: with the end of its log.
        """
        self.stack.check()
        self.kafka.node.check()
        self.first.check()

    def launch_second(self, version: str, *arguments: str) -> None:
        """Start the second server with a version, in the place of what ran there."""
        self._second.close()
        self.second = self._second.enter_context(self._vllm(SECOND, version, *arguments))

    def wait_second(self) -> None:
        """Wait until the second server answers."""
        self._wait(SECOND, self.second)

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def _start(self) -> None:
        self._exit.enter_context(self.receiver)
        self._start_kafka()
        self._start_stack()
        self._tell("starting two vLLM servers, v1 and v2: that takes a while")
        self.first = self._exit.enter_context(self._vllm(FIRST, GOOD))
        self._second = self._exit.enter_context(ExitStack())
        self.launch_second(DEAD.version)
        self._wait(FIRST, self.first)
        self.wait_second()
        self._start_gateway()
        stored = self.stack.settings.clickhouse
        self.client = store_client(stored, stored.database)
        self._exit.callback(self.client.close)

    def _start_kafka(self) -> None:
        libs, fetched_s = kafka_libs()
        if fetched_s:
            self._tell(f"the jars of Apache Kafka fetched in {fetched_s:.0f} s")
        folder = self._data_dir / "kafka"
        folder.mkdir(parents=True)
        self.kafka = self._exit.enter_context(running_kafka(folder, libs, secure=self._secure))
        self.started_s["kafka"] = round(self.kafka.started_s, 1)
        how = "SCRAM-SHA-512 over TLS" if self._secure else "plain"
        self._tell(f"Apache Kafka {KAFKA_VERSION} ready in {self.kafka.started_s:.1f} s ({how})")

    def _start_stack(self) -> None:
        scale = self._scenario.time_scale
        environment = {
            "TOCSIN_STREAMS__TIME_SCALE": str(scale),
            # In fast motion a machine that is busy for a moment is late by minutes.
            "TOCSIN_STREAMS__CORRECTION_S": str(30 * scale),
            "TOCSIN_ALERTING__RULES": str(RULES),
            "TOCSIN_NOTIFY__SLACK_BASE_URL": self.receiver.slack_base_url,
            "TOCSIN_NOTIFY__SLACK_TOKEN": _SLACK_TOKEN,
            "TOCSIN_NOTIFY__SLACK_CHANNEL": "#llm-alerts",
            "TOCSIN_NOTIFY__PAGERDUTY_BASE_URL": self.receiver.pagerduty_base_url,
            "TOCSIN_NOTIFY__PAGERDUTY_ROUTING_KEY": _ROUTING_KEY,
            "TOCSIN_NOTIFY__STDOUT": "false",
        }
        streams = self._settings.streams.model_copy(update={"time_scale": scale})
        self.stack = self._exit.enter_context(
            Stack(
                self._settings.model_copy(update={"streams": streams}),
                StackOptions(
                    self._data_dir / "tocsin",
                    kafka=self.kafka.settings(),
                    environment=environment,
                ),
                tell=self._tell,
            )
        )

    def _vllm(self, name: str, version: str, *arguments: str) -> AbstractContextManager[Running]:
        kafka = {k: v for k, v in self.stack.environment.items() if k.startswith("TOCSIN_KAFKA__")}
        return launched(
            "plain",
            self._data_dir / f"{name}-{version}.log",
            middleware=_MIDDLEWARE,
            environment={
                **_ONE_THREAD,
                **kafka,
                "TOCSIN_EMIT__SERVER": name,
                "TOCSIN_EMIT__MODEL_VERSION": version,
                "TOCSIN_EMIT__GATEWAY_TOKEN": self._token,
            },
            arguments=["--served-model-name", SERVED[version], *arguments],
            # The weights of v2 serve as v3, too: what is wrong with that is how it is deployed.
            version="tiny-v1" if version == GOOD else "tiny-v2",
            port=self.ports[name],
        )

    def _wait(self, name: str, running: Running) -> None:
        seconds = running.wait(lambda line: self._tell(f"{name}: {line}"))
        self.started_s.setdefault(name, round(seconds, 1))
        self._tell(f"{name} answers {seconds:.0f} s after its start")

    def _start_gateway(self) -> None:
        file = self._gateway_file()
        path = self._data_dir / "gateway.yaml"
        path.write_text(yaml.safe_dump(file, sort_keys=False))
        self.flags = FlagStore(self.stack.settings.flags.path)
        self.flags.create(first_flags(GatewayFile.model_validate(file), at_us=now_us()))
        environment = {
            **self.stack.environment,
            _KEY_VARIABLE: API_KEY,
            "TOCSIN_EMIT__GATEWAY_TOKEN": self._token,
            "TOCSIN_GATEWAY__CONFIG": str(path),
            "TOCSIN_GATEWAY__PORT": str(self.ports["gateway"]),
            "TOCSIN_GATEWAY__METRICS_PORT": str(self._metrics_port),
        }
        command = [sys.executable, "-m", "tocsin", "gateway"]
        log = self._data_dir / "gateway.log"
        child = self.stack.run(Child("gateway", command, log, environment))
        seconds = child.wait_until(self._gateway_answers)
        self._tell(f"gateway ready in {seconds:.1f} s")

    def _gateway_file(self) -> dict[str, Any]:
        def upstream(name: str) -> dict[str, Any]:
            entry = {"base_url": f"http://{self.address(name)}/v1", "provider": PROVIDER}
            return {**entry, "joined": True, "api_key_env": _KEY_VARIABLE}

        def target(name: str, *versions: str) -> dict[str, Any]:
            return {"upstream": name, "versions": {v: SERVED[v] for v in versions}}

        return {
            "version": 1,
            "upstreams": {name: upstream(name) for name in (FIRST, SECOND)},
            "models": {
                MODEL: {
                    "targets": [target(FIRST, GOOD), target(SECOND, DEAD.version, LATE.version)]
                }
            },
            "keys": [{"name": "demo", "sha256": hash_key(self.key)}],
        }

    def _gateway_answers(self) -> bool:
        try:
            url = f"http://{self.address('gateway')}/health"
            return httpx.get(url, timeout=2, trust_env=False).is_success
        except httpx.TransportError:
            return False
