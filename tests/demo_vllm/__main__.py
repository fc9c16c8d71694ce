"""Kill a real vLLM's engine in mid-stream, and watch the loop put it right, with nothing lost.

python -m tests.demo_vllm [--kill engine|server] [--secure] [--data-dir DIR] [--time-scale 20]

A gateway stands in front of two real vLLM servers with two versions of a model; Apache Kafka,
ClickHouse's engine, a worker and an executor watch them. OpenAI's own client asks. The engine (or
the server) of the version in force is killed with SIGKILL: requests fall back to the other version,
a page comes, and the rollback makes that the version in force. Then a version that serves one
request at a time is promoted, and taken back as well. At the end every request is accounted for.

Exit code 0 only if all of it is proven; 1 with the first difference; 3 when this machine cannot run
vLLM (AVX-512) or Kafka (Java, Maven). The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
from clickhouse_connect.driver.exceptions import ClickHouseError

from schemas.errors import TocsinError
from schemas.settings import load_settings
from tests.demo_vllm.parts import FIRST, Parts
from tests.demo_vllm.proofs import prove
from tests.demo_vllm.run import DemoFailedError, Played, play
from tests.demo_vllm.scenario import GOOD, SERVED, Scenario
from tests.demo_vllm.traffic import Traffic
from tests.demo_vllm.view import close, figures, show
from tests.support.kafka import missing_tools
from tests.support.vllm.cases import API_KEY
from tocsin.cli.console import console
from tocsin.logs import configure_logging

CANNOT = 3
_SETUP = Path(__file__).parents[1] / "support" / "vllm" / "setup.py"


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--secure", action="store_true", help="Kafka by SCRAM over TLS")
    parser.add_argument("--kill", choices=["engine", "server"], default="engine")
    parser.add_argument("--data-dir", type=Path, help="keep data and logs here (must be new)")
    parser.add_argument("--time-scale", type=float, default=20, help="of the rules' durations")
    asked = parser.parse_args()
    if missing := missing_tools():
        console.print(f"Apache Kafka needs {' and '.join(missing)} (Java 17 and Maven)")
        return CANNOT
    if code := subprocess.run([sys.executable, str(_SETUP)], check=False).returncode:
        return code
    # SIGTERM stops it as Ctrl-C does, with every process that it started.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    folder = asked.data_dir or Path(tempfile.mkdtemp(prefix="tocsin-demo-vllm-"))
    if folder.is_dir() and any(folder.iterdir()):
        parser.error(f"--data-dir: {folder} is not empty")
    try:
        scenario = Scenario(kill=asked.kill, time_scale=asked.time_scale)
        return _demo(folder, scenario, secure=asked.secure)
    except KeyboardInterrupt:
        console.print("stopping")
        return 130
    finally:
        if asked.data_dir is None:
            shutil.rmtree(folder, ignore_errors=True)


def _demo(folder: Path, scenario: Scenario, *, secure: bool) -> int:
    began = time.monotonic()
    settings = load_settings()
    configure_logging(settings)
    result: dict[str, Any] = {"ok": False, "kill": scenario.kill, "secure": secure}
    result["difference"] = None

    def tell(text: str) -> None:
        console.print(text, style="dim", markup=False, highlight=False)

    try:
        with Parts(settings, scenario, folder, secure=secure, tell=tell) as parts:
            played = Played(
                Traffic("gateway", parts.gateway_url, parts.key),
                Traffic("direct", f"http://{parts.address(FIRST)}/v1", API_KEY, SERVED[GOOD]),
            )
            console.print(f"what Slack and PagerDuty get: {parts.receiver.url}", style="bold cyan")
            try:
                asyncio.run(_played(parts, scenario, played))
            except DemoFailedError as error:
                result["difference"] = str(error)
            checks = list(prove(parts, played))
            close(console, played, checks)
            wrong = [f"{check.name}: {check.said}" for check in checks if not check.ok]
            result["difference"] = result["difference"] or next(iter(wrong), None)
            result |= figures(parts, played)
    except (TocsinError, RuntimeError, httpx.HTTPError, ClickHouseError) as error:
        result["difference"] = f"{type(error).__name__}: {error}"
    result["ok"] = result["difference"] is None
    result["seconds"] = round(time.monotonic() - began, 1)
    if result["ok"]:
        console.print("Fallback, page, rollback, recovery; nothing was lost.", style="bold green")
    else:
        console.print("Not proven: ", style="bold red", end="")
        console.print(result["difference"], markup=False, highlight=False)
    sys.stdout.flush()
    print(json.dumps(result))  # noqa: T201
    return 0 if result["ok"] else 1


async def _played(parts: Parts, scenario: Scenario, played: Played) -> None:
    def report(moment: Any, _: int) -> None:
        if not console.is_terminal:
            console.print(f"  {moment.title}", style="bold", highlight=False)

    showing = asyncio.create_task(show(console, played, parts.receiver.url))
    try:
        await play(parts, scenario, played, report)
    finally:
        showing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await showing


if __name__ == "__main__":
    sys.exit(main())
