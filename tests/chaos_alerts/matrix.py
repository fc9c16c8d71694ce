"""The crash matrix: every point of the outbox x every notifier, and what must hold after each."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp, Receive, Scope, Send

from schemas.flag import FlagKey
from schemas.topics import Topics
from tests.chaos_alerts.changelog import FileTopics
from tests.chaos_alerts.rig import START_US, Run, story
from tests.support.actions import promoted_flags
from tests.support.receivers import Front, World
from tests.support.waiting import until_true

__all__ = ["Outcome", "Rig"]


@dataclass(slots=True)
class Outcome:
    """What one run showed: how often it was killed, what was delivered, and what is wrong."""

    killed: bool
    deliveries: int = 0
    begun: int = 0
    actions: int = 0
    violations: list[str] = field(default_factory=list)


class _Kills:
    """Kills the caller, whose id is in the path, when the n-th request has been taken."""

    def __init__(self, app: ASGIApp, rig: Rig) -> None:
        self._app = app
        self._rig = rig

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        held: list[Any] = []

        async def hold(message: Any) -> None:
            held.append(message)

        await self._app(scope, receive, hold)
        if self._rig.kill_after and len(self._rig.front.world.calls) == self._rig.kill_after:
            self._rig.kill_after = 0
            os.kill(int(scope["path"].split("/")[1]), signal.SIGKILL)
        for message in held:
            await send(message)


class Rig:
    """Receivers on a port, and a process that forks workers; a context manager's value."""

    def __init__(self, url: str, front: Front, zygote: subprocess.Popen[str]) -> None:
        self.url = url
        self.front = front
        self.kill_after = 0
        self._zygote = zygote

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Rig]:
        """Start both, and stop them."""
        front = Front()
        front.world = World()
        app = Starlette(routes=[Mount("/{pid:int}", routes=front.routes)])
        zygote = subprocess.Popen(
            [sys.executable, "-m", "tests.chaos_alerts.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if not os.environ.get("CHAOS_LOG") else None,
            text=True,
            cwd=Path(__file__).parents[2],
        )
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(128)
            rig = cls(f"http://127.0.0.1:{listener.getsockname()[1]}", front, zygote)
            config = uvicorn.Config(_Kills(app, rig), log_level="critical", lifespan="off")
            server = uvicorn.Server(config)
            thread = threading.Thread(
                target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True
            )
            thread.start()
            until_true(lambda: server.started)
            try:
                yield rig
            finally:
                server.should_exit = True
                thread.join(10)
                if zygote.stdin is not None:
                    zygote.stdin.close()
                zygote.wait(10)

    def run(self, notifier: str, point: str, seed: int, *, careless: bool = False) -> Outcome:
        """Live a whole incident with one kill -9 in it, and look at what came of it."""
        rng = random.Random(f"{notifier}:{point}:{seed}")
        self.front.world = World()
        with tempfile.TemporaryDirectory(prefix="tocsin-chaos-") as folder:
            FileTopics(Path(folder)).append(Topics.SIGNALS, story())
            flags = promoted_flags(Path(folder) / "flags.json", at_us=START_US - 3_600_000_000)
            # Of stdout no answer can be lost: what was written is there.
            here = "after_2xx" if (point, notifier) == ("answer_lost", "stdout") else point
            nth = rng.randint(1, 2 if here == "answer_lost" else 4)
            self.kill_after = nth if here == "answer_lost" else 0
            run = Run(
                folder, self.url, notifier, here, nth, rng.getrandbits(32), START_US, careless
            )
            outcome = Outcome(killed=self._live(run) == -signal.SIGKILL)
            if not outcome.killed:
                outcome.violations.append(f"not killed: {here} was not passed {nth} times")
            self.kill_after = 0
            again = Run(
                folder,
                self.url,
                notifier,
                "",
                0,
                rng.getrandbits(32),
                self._died_us(Path(folder)) + rng.randint(1, 5) * 1_000_000,
            )
            if (status := self._live(again)) != 0:
                outcome.violations.append(f"the second life ended with {status}")
            self._look(notifier, Path(folder), outcome)
            history = flags.read().flag(FlagKey.MODEL_VERSION).history
            outcome.actions = sum("chaos" in change.by for change in history)
            if outcome.actions != 1:
                outcome.violations.append(f"{outcome.actions} effective actions, expected 1")
        return outcome

    @staticmethod
    def _died_us(folder: Path) -> int:
        """Return the time of the newest signal that was taken before the end."""
        offset, _ = FileTopics(folder).behind(Topics.SIGNALS, "alert")
        return START_US + max(0, offset - 1) * 10_000_000

    def _live(self, run: Run) -> int:
        zygote = self._zygote
        assert zygote.stdin is not None
        assert zygote.stdout is not None
        zygote.stdin.write(json.dumps(asdict(run)) + "\n")
        zygote.stdin.flush()
        return int(zygote.stdout.readline())

    def _look(self, notifier: str, folder: Path, outcome: Outcome) -> None:
        world = self.front.world
        outcome.deliveries = len(world.calls)
        if notifier == "slack":
            keys = [m["metadata"]["event_payload"]["dedup_key"] for m in world.roots()]
            ended = ["RESOLVED" in message["text"] for message in world.roots()]
        elif notifier == "slack-webhook":
            begun = [post for post in world.posts if "RESOLVED" not in post["text"]]
            keys = [_incident(post) for post in world.posts if post.get("blocks")]
            ended = ["RESOLVED" in world.posts[-1]["text"]] if begun else []
        elif notifier == "pagerduty":
            keys = [body["dedup_key"] for _, body in world.calls]
            ended = [state == "resolved" for state in world.incidents.values()]
            if world.calls[0][0] != "trigger":
                outcome.violations.append("the first event is no trigger")
        elif notifier == "alertmanager":
            keys = [alert["annotations"]["dedup_key"] for alert in world.alerts.values()]
            ended = [alert["endsAt"] < "2026-09-21T14:15" for alert in world.alerts.values()]
        elif notifier == "webhook":
            bodies = [body for same in world.hooked.values() for body in same]
            keys = [body["dedup_key"] for body in bodies]
            ended = [bodies[-1]["event"] == "resolve"]
        else:
            text = (folder / "stdout").read_text()
            keys = [line.split("incident ")[1].split()[0] for line in text.splitlines()
                    if "incident " in line and "runbook" in line]  # fmt: skip
            ended = ["RESOLVED" in text]
            outcome.deliveries = len(keys)
        outcome.begun = len(keys)
        if not keys:
            outcome.violations.append("nothing was delivered")
        if len(set(keys)) > 1:
            outcome.violations.append(f"{len(set(keys))} dedup keys: {sorted(set(keys))}")
        if not ended or not ended[-1]:
            outcome.violations.append("its end was not delivered")


def _incident(post: dict[str, Any]) -> str:
    (context,) = [block for block in post["blocks"] if block["type"] == "context"]
    return str(context["elements"][0]["text"]).split("incident ")[1]
