"""A flag file that does not parse pages somebody: a real gateway, and the Prometheus and the
Alertmanager of deploy/, with their own rules."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from schemas.flag import FlagKey
from tests.support.broker import free_port
from tests.support.gateway import CHAT, file_of
from tests.support.gateway_process import GatewayProcess, gateway_process
from tests.support.upstream import running_upstream
from tests.support.waiting import until

PROMETHEUS = shutil.which("prometheus")
ALERTMANAGER = shutil.which("prometheus-alertmanager") or shutil.which("alertmanager")
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"

pytestmark = [
    pytest.mark.oracle,
    pytest.mark.skipif(
        not (PROMETHEUS and ALERTMANAGER),
        reason="not there: apt install prometheus prometheus-alertmanager",
    ),
]


def of_deploy(path: str) -> Any:
    return yaml.safe_load((DEPLOY / path).read_text())


@contextmanager
def process(*command: str | None, log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        running = subprocess.Popen(
            [str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, cwd=log.parent
        )
    try:
        yield
    finally:
        running.terminate()
        running.wait(20)


@contextmanager
def watched(folder: Path, metrics_port: int) -> Iterator[str]:
    """Run both with what deploy/ says, addresses and periods aside; return Alertmanager's URL."""
    prometheus, alertmanager = free_port(), free_port()
    config = of_deploy("prometheus/prometheus.yml")
    [job] = [j for j in config["scrape_configs"] if j["job_name"] == "tocsin-gateway"]
    del job["dns_sd_configs"]
    job["static_configs"] = [{"targets": [f"127.0.0.1:{metrics_port}"]}]
    config["scrape_configs"] = [job]
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    at = [{"targets": [f"127.0.0.1:{alertmanager}"]}]
    config["alerting"]["alertmanagers"] = [{"static_configs": at}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    rules = of_deploy("prometheus/rules.yml")
    for rule in rules["groups"][0]["rules"]:
        rule["for"] = "1s"
    (folder / "rules.yml").write_text(yaml.safe_dump(rules))
    (folder / "am.yml").write_text(
        yaml.safe_dump({"route": {"receiver": "n"}, "receivers": [{"name": "n"}]})
    )
    with (
        process(
            ALERTMANAGER,
            "--config.file=am.yml",
            f"--storage.path={folder / 'am'}",
            f"--web.listen-address=127.0.0.1:{alertmanager}",
            "--cluster.listen-address=",
            log=folder / "am.log",
        ),
        process(
            PROMETHEUS,
            "--config.file=prometheus.yml",
            f"--storage.tsdb.path={folder / 'tsdb'}",
            f"--web.listen-address=127.0.0.1:{prometheus}",
            log=folder / "prometheus.log",
        ),
    ):
        yield f"http://127.0.0.1:{alertmanager}"


async def ask(gateway: GatewayProcess) -> None:
    async with httpx.AsyncClient(timeout=20) as client:
        answer = await client.post(f"{gateway.url}/chat/completions", json=CHAT)
    assert answer.status_code == 200


async def test_a_flag_file_that_does_not_parse_pages_somebody(tmp_path: Path) -> None:
    async with running_upstream() as up:
        file = file_of(up)
        [target] = file["models"]["assistant"]["targets"]
        target["versions"] = {"v1": "m1", "v2": "m2"}
        with (
            gateway_process(tmp_path, file) as gateway,
            watched(tmp_path, gateway.metrics_port) as alertmanager,
        ):

            async def obeyed() -> bool:
                await ask(gateway)
                return up.calls[-1].json["model"] == "m2"

            async def alerts() -> set[str]:
                try:
                    async with httpx.AsyncClient(timeout=5) as client:
                        found = await client.get(f"{alertmanager}/api/v2/alerts")
                except httpx.HTTPError:  # it is starting
                    return set()
                return {alert["labels"]["alertname"] for alert in found.json()}

            async def paged() -> bool:
                return "TocsinGatewayFlags" in await alerts()

            async def over() -> bool:
                return "TocsinGatewayFlags" not in await alerts()

            gateway.flags.set_variant(FlagKey.MODEL_VERSION, "v2", by="t", reason="", at_us=2)
            await until(obeyed)
            good = gateway.flags.path.read_text()
            gateway.flags.path.write_text(good[: len(good) // 2])
            await until(paged, timeout_s=60)
            await ask(gateway)
            assert up.calls[-1].json["model"] == "m2"  # the last good values
            gateway.flags.path.write_text(good)
            await until(over, timeout_s=60)
