"""One run of a contender other than Tocsin: its script in a process of its own."""

from __future__ import annotations

import json
import subprocess
import uuid
from collections.abc import Mapping
from typing import Any, Final

from benchmarks.core.environments import interpreter, variables
from benchmarks.core.errors import ScriptError
from benchmarks.core.measured import Measured
from benchmarks.core.names import requests_topic
from benchmarks.core.preload import Backlog
from benchmarks.core.registry import NAIVE, Contender
from benchmarks.core.rig import Broker, StoreRig, running_store

__all__ = ["result_of", "run_peer"]

_TIMEOUT_S: Final = 120.0
_SLOWEST: Final = 500  # events a second that even naive Faust passes


def run_peer(broker: Broker, contender: Contender, kind: str, backlog: Backlog) -> Measured:
    """Let a contender read a backlog, into a new store if it writes rows.

    Raises:
        InstallError: what it needs cannot be installed.
        ScriptError: no result came, or a wrong one.
    """
    if not contender.stores:
        return _run(broker, contender, kind, backlog)
    with running_store() as store:
        before = store.cpu_s
        measured = _run(broker, contender, kind, backlog, store)
        measured.other["store_cpu_s"] = store.cpu_s - before
        found = store.rows("SELECT count(), uniqExact(event_id) FROM requests")[0]
    if found != (backlog.events, backlog.events):
        raise ScriptError(f"{found} rows and ids are in the store, of {backlog.events}")
    return measured


def _run(
    broker: Broker,
    contender: Contender,
    kind: str,
    backlog: Backlog,
    store: StoreRig | None = None,
) -> Measured:
    python = interpreter(contender)
    command = [python, "-m", f"benchmarks.core.contenders.{contender.script}"]
    command += ["--bootstrap", broker.kafka.bootstrap, "--topic", requests_topic(kind)]
    command += ["--group", f"{contender.name}-{uuid.uuid4().hex[:8]}"]
    command += ["--records", str(backlog.records[kind]), "--events", str(backlog.events)]
    if store is not None:
        at = store.settings
        command += ["--store", f"{at.host}:{at.port}:{at.database}"]
    before = broker.cpu_s
    timeout_s = _TIMEOUT_S + backlog.events / _SLOWEST
    try:
        done = subprocess.run(
            command, env=variables(), capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = error.stderr.decode(errors="replace") if isinstance(error.stderr, bytes) else ""
        raise ScriptError(f"no end within {timeout_s:g} s: {_end(said)}") from None
    if done.returncode:
        raise ScriptError(f"exit code {done.returncode}: {_end(done.stderr)}")
    exact_cost = contender not in NAIVE  # who add floats up
    return result_of(done.stdout, backlog.totals, exact_cost, broker.cpu_s - before)


def result_of(
    output: str, wanted: Mapping[str, int], exact_cost: bool, broker_cpu_s: float
) -> Measured:
    """Return the figures in a script's last line.

    Raises:
        ScriptError: there is none, or its sums are not those of the events.
    """
    lines = [line for line in output.splitlines() if line.startswith("{")]
    if not lines:
        raise ScriptError(f"no result in {_end(output)!r}")
    result: dict[str, Any] = json.loads(lines[-1])
    found: dict[str, int] = result["totals"]
    off = {
        name: (found[name], value)
        for name, value in wanted.items()
        if abs(found[name] - value) > (0 if exact_cost or name != "cost_nano_usd" else value * 1e-6)
    }
    if off:
        raise ScriptError(f"sums differ (found, wanted): {off}")
    figures = (result["seconds"], result["cpu_seconds"], result["peak_rss_mb"])
    return Measured(result["events"], *figures, {"broker_cpu_s": broker_cpu_s})


def _end(text: str) -> str:
    return "\n".join(text.strip().splitlines()[-4:])[-600:]
