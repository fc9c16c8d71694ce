"""Forks one worker a line: a process that is killed costs milliseconds, not an interpreter's start.

    python -m tests.chaos_alerts.zygote

Reads a ``Run`` as JSON from each line of standard input, and answers with the status of its end:
0, or minus the signal.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import ssl
import sys
import tempfile
import traceback
from pathlib import Path

import aiohttp
import httpx
import structlog

from schemas.topics import Topics
from tests.chaos_alerts.changelog import FileTopics
from tests.chaos_alerts.rig import START_US, Run, main, story

__all__: list[str] = []


def warm_up() -> None:
    """Load what a worker would: each life begins with it."""

    async def ask() -> None:
        async with httpx.AsyncClient(timeout=1) as client, aiohttp.ClientSession() as session:
            with contextlib.suppress(httpx.HTTPError):
                await client.post("http://127.0.0.1:9/", content=b"{}")
            with contextlib.suppress(aiohttp.ClientError):
                await session.post("http://127.0.0.1:9/", data=b"{}")

    asyncio.run(ask())
    with tempfile.TemporaryDirectory() as folder:
        FileTopics(Path(folder)).append(Topics.SIGNALS, story())
        main(Run(folder, "", "stdout", "", 0, 0, START_US))
    # Each client would read the certificates anew, to talk plain HTTP.
    context = ssl.create_default_context()
    ssl.create_default_context = lambda *_, **__: context  # type: ignore[assignment]


def serve() -> None:
    """Answer until standard input ends."""
    structlog.configure(logger_factory=lambda *_: structlog.PrintLogger(sys.stderr))
    warm_up()
    for line in sys.stdin:
        run = Run(**json.loads(line))
        child = os.fork()
        if child == 0:
            try:
                main(run)
            except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)  # noqa: T201


if __name__ == "__main__":
    serve()
