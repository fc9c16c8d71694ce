"""An executor in a process of its own that kills itself at a chosen point, as kill -9 would.

    python -m tests.unit.serving.executor_process BOOTSTRAP FOLDER POINT

POINT: after_flag (the flag is switched, nothing is reported), after_flag_value (`llm.flags` has
it), after_result (the result is acknowledged, the offset not committed), never.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

from schemas.settings import KafkaSettings, Settings
from schemas.topics import Topics
from serving.actuators.flag_switch import FlagSwitch
from serving.executor import Executor
from tests.support.actions import NOW_US


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def settings_of(bootstrap: str, folder: Path) -> Settings:
    kafka = KafkaSettings(bootstrap=bootstrap, session_timeout_s=1, heartbeat_interval_s=0.3)
    return Settings(data_dir=folder, kafka=kafka, flags={"path": folder / "flags.json"})


async def main(bootstrap: str, folder: Path, point: str) -> None:
    executor = Executor(settings_of(bootstrap, folder), now_us=lambda: NOW_US)
    apply, send = FlagSwitch.apply, executor._producer.send_and_wait

    async def apply_then_die(self: FlagSwitch, *args: Any) -> Any:
        result = await apply(self, *args)
        if point == "after_flag":
            die()
        return result

    async def send_then_die(topic: str, value: bytes, key: bytes) -> Any:
        sent = await send(topic, value, key=key)
        if b'"action_result"' in value and point == "after_result":
            die()
        if topic == Topics.FLAGS.name and point == "after_flag_value" and b'"tocsin-exec' in value:
            die()
        return sent

    FlagSwitch.apply = apply_then_die  # type: ignore[assignment,method-assign]
    executor._producer.send_and_wait = send_then_die
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await executor.run(stop)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), sys.argv[3]))
