"""What 10,000 series that go bad in one window cost, and what they say.

    python -m benchmarks.alert_storm [--series 10000]

A whole embedded stack is given one evaluation in which every series breaks a rule without a dwell,
and then one in which all are well again. A webhook counts messages until it knows of every end.
Processor time is the worker's own, by its ``process_cpu_seconds_total``: from the signals over
states, transitions and incidents to groups, messages and rows. The last line is one JSON object.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from schemas.signal import Signal, SignalName
from schemas.topics import Topics
from tests.acceptance.running import Running, producer, running_stack
from tests.chaos_alerts.alertmanager import Hook

RULES = """
version: 1
rules:
  - name: errors
    signal: error_rate
    over: 10s
    by: [model, model_version]
    condition: "> 1%"
    min_samples: 1
    severity: error
    summary: "{model} {model_version}: {value:.1%} of requests fail"
    runbook: docs/alerting.md#runbook-errors
"""
_CPU = "process_cpu_seconds_total"
_STARTED = "SELECT uniqExact(incident_id), count() FROM alerts WHERE to_phase = {phase:String}"


async def evaluation(bootstrap: str, series: int, value: float, at_us: int) -> None:
    """Send one evaluation: a signal of each series, then the watermark's lag."""
    async with producer(bootstrap) as sender:
        for number in range(series):
            labels = {"model": f"m{number % 10}", "model_version": f"v{number // 10}"}
            signal = _signal(SignalName.ERROR_RATE, labels, 10, value, at_us)
            await sender.send(Topics.SIGNALS.name, signal)
        await sender.send(Topics.SIGNALS.name, _signal(SignalName.WATERMARK_LAG, {}, 0, 2, at_us))


def _signal(
    name: SignalName, labels: dict[str, str], over_s: float, value: float, at_us: int
) -> bytes:
    return Signal(
        schema_version=1,
        signal=name,
        labels=labels,
        over_s=over_s,
        window_end_us=at_us,
        value=value,
        samples=100,
        detector="benchmark",
    ).to_json()


def firing(hook: Hook) -> int:
    """Return how many incidents fire, by the newest message under each key."""
    newest = {body["dedup_key"]: body for _, body in hook.taken}
    return sum(
        body["group"]["firing"] if body.get("group") else body["event"] != "resolve"
        for body in newest.values()
    )


def until(look: Callable[[], bool], timeout_s: float) -> float:
    """Wait until something holds; return the seconds that took.

    Raises:
        TimeoutError: it does not within ``timeout_s``.
    """
    started = time.monotonic()
    while not look():
        if time.monotonic() - started > timeout_s:
            raise TimeoutError(f"not within {timeout_s:g} s")
        time.sleep(0.1)
    return time.monotonic() - started


def measure(running: Running, hook: Hook, series: int) -> dict[str, Any]:
    """Let every series fire and end; return messages, losses and processor time."""
    result: dict[str, Any] = {"benchmark": "alert_storm", "series": series}
    cpu_s = running.metric(_CPU)
    for value, phase, name, want in (
        (0.5, "firing", "firing", series),
        (0.0, "resolved", "ends", 0),
    ):
        asyncio.run(evaluation(running.bootstrap, series, value, time.time_ns() // 1_000))
        took_s = until(lambda want=want: firing(hook) == want, 120)  # type: ignore[misc]

        def rows(phase: str = phase) -> tuple[int, int]:
            ((incidents, count),) = running.rows(_STARTED, phase=phase)
            return incidents, count

        until(lambda: rows() == (series, series), 60)
        now_s = running.metric(_CPU)
        result[f"{name}_cpu_s"] = round(now_s - cpu_s, 2)
        result[f"{name}_told_after_s"] = round(took_s, 1)
        result[f"{name}_messages"] = len(hook.taken) - result.get("firing_messages", 0)
        cpu_s = now_s
    result["messages"] = len(hook.taken)
    result["cpu_s"] = round(result["firing_cpu_s"] + result["ends_cpu_s"], 2)
    result |= {"cpus": os.cpu_count(), "load_1m": round(os.getloadavg()[0], 2)}
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--series", type=int, default=10_000)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, Hook() as hook:
        folder = Path(name)
        (folder / "rules.yaml").write_text(RULES)
        with running_stack(
            folder / "data",
            TOCSIN_STREAMS__TIME_SCALE="1",
            TOCSIN_ALERTING__RULES=str(folder / "rules.yaml"),
            TOCSIN_GROUPING__INTERVAL_S="30",
            TOCSIN_NOTIFY__WEBHOOK_URL=hook.url,
            TOCSIN_NOTIFY__WEBHOOK_SECRET="secret",  # noqa: S106
        ) as running:
            result = measure(running, hook, asked.series)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
