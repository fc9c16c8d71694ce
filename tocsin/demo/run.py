"""Run the demo: start everything, let it go wrong, watch it put itself right, check every step."""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from aiokafka import AIOKafkaProducer
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import store_client
from schemas.clock import Clock, system_clock
from schemas.feedback import FeedbackEvent
from schemas.flag import FlagKey
from schemas.settings import Settings
from schemas.topics import Topics
from serving.flags.initial import initial_document
from serving.flags.reader import FlagReader
from serving.flags.store import FlagStore
from serving.fleet.load import LoadDriver
from serving.fleet.users import Visits
from tocsin.demo.checks import Check, check_all, rows_in_store
from tocsin.demo.fleet import FleetProcess
from tocsin.demo.moments import MOMENTS, Moment
from tocsin.demo.scenario import BACKUP, BAD_VERSION, GOOD_VERSION, MODEL, PRIMARY, Scenario
from tocsin.demo.view import Progress
from tocsin.demo.watch import Watcher
from tocsin.embedded.data_dir import make_data_dir
from tocsin.embedded.ports import choose_port
from tocsin.embedded.stack import Stack, StackOptions
from tocsin.receiver.process import Receiver

__all__ = ["Demo", "DemoOutcome"]

_SLACK_TOKEN: Final = "xoxb-demo"  # noqa: S105 - the local receiver's, made up
_ROUTING_KEY: Final = "d" * 32


@dataclass(slots=True)
class DemoOutcome:
    """What the demo found at its end."""

    checks: list[Check] = field(default_factory=list)
    moments: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Tell whether every check held."""
        return bool(self.checks) and all(check.ok for check in self.checks)


class Demo:
    """One run of the demo.

    Args:
        settings: the base of every process's settings.
        scenario: what happens when.
        data_dir: where the stack keeps its data; the demo wants it new.
        tell: hears what is being done, in words.
        report: hears of each step of the loop once.
    """

    def __init__(
        self,
        settings: Settings,
        scenario: Scenario,
        data_dir: Path,
        *,
        receiver_port: int = 0,
        tell: Callable[[str], None] = lambda _: None,
        report: Callable[[Moment, int], None] = lambda *_: None,
        clock: Clock = system_clock,
    ) -> None:
        self._settings = settings
        self._scenario = scenario
        self._data_dir = data_dir
        self._tell = tell
        self._report = report
        self._clock = clock
        self._exit = ExitStack()
        self._stopping = threading.Event()
        self.progress = Progress()
        self.receiver = Receiver(
            receiver_port, slack_token=_SLACK_TOKEN, pagerduty_routing_key=_ROUTING_KEY
        )

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def stop(self) -> None:
        """Let ``play`` end early; its checks will not hold then."""
        self._stopping.set()

    def play(self) -> DemoOutcome:
        """Play the scenario to its end and check what it left."""
        progress = self.progress
        window_s = self._stack.settings.streams.window_us / 1e6
        with Watcher(
            self._stack.settings.clickhouse,
            self.receiver,
            progress,
            window_s=window_s,
            report=self._report,
        ) as watcher:
            asyncio.run(self._load(watcher))
            self._settle()
        board = self.receiver.board
        checks = check_all(
            self.client,
            sent=progress.answered + progress.errors + progress.aborted,
            window_us=self._stack.settings.streams.window_us,
            moments=progress.moments,
            messages=[message.as_dict() for message in board.messages.all()],
            incidents=[incident.as_dict() for incident in board.incidents.all()],
        )
        return DemoOutcome(checks, dict(progress.moments))

    def _start(self) -> None:
        scenario, data_dir = self._scenario, self._data_dir
        make_data_dir(data_dir)
        self._exit.enter_context(self.receiver)
        judge_port = choose_port("judge", 0, "")
        flags_path = data_dir.resolve() / "flags.json"
        self._flags = FlagStore(flags_path)
        self._flags.create(
            initial_document(
                providers=[PRIMARY, BACKUP],
                versions=[GOOD_VERSION, BAD_VERSION],
                at_us=self._clock(),
            )
        )
        environment = {
            "TOCSIN_STREAMS__TIME_SCALE": str(scenario.time_scale),
            "TOCSIN_EMIT__CAPTURE_TEXT": "true",
            "TOCSIN_JUDGE__BASE_URL": f"http://127.0.0.1:{judge_port}/v1",
            "TOCSIN_PRICES__PATH": str(Path(__file__).parent / "data" / "prices.yaml"),
            "TOCSIN_NOTIFY__SLACK_BASE_URL": self.receiver.slack_base_url,
            "TOCSIN_NOTIFY__SLACK_TOKEN": _SLACK_TOKEN,
            "TOCSIN_NOTIFY__SLACK_CHANNEL": "#llm-alerts",
            "TOCSIN_NOTIFY__PAGERDUTY_BASE_URL": self.receiver.pagerduty_base_url,
            "TOCSIN_NOTIFY__PAGERDUTY_ROUTING_KEY": _ROUTING_KEY,
            "TOCSIN_NOTIFY__STDOUT": "false",
        }
        streams = self._settings.streams.model_copy(update={"time_scale": scenario.time_scale})
        settings = self._settings.model_copy(update={"streams": streams})
        options = StackOptions(data_dir, environment=environment)
        self._stack = self._exit.enter_context(Stack(settings, options, tell=self._tell))
        self._tell("starting the simulated fleet")
        self._admin_token = secrets.token_urlsafe(16)
        self._fleet = FleetProcess(self._stack, scenario.fleet(), judge_port, self._admin_token)
        self._fleet.start()
        stored = self._stack.settings.clickhouse
        self.client: Client = store_client(stored, stored.database)
        self._exit.callback(self.client.close)

    async def _load(self, watcher: Watcher) -> None:
        scenario, progress = self._scenario, self.progress
        arrivals = scenario.arrivals()
        progress.total = len(arrivals)
        progress.doing = (
            f"healthy traffic, trace x{scenario.speed:g}, rules x{scenario.time_scale:g}"
        )
        producer = AIOKafkaProducer(bootstrap_servers=self._stack.settings.kafka.bootstrap)
        await producer.start()

        async def feedback(event: FeedbackEvent) -> None:
            await producer.send(
                Topics.FEEDBACK.name, event.to_json(), key=event.request_id.encode()
            )

        visits = Visits(f"demo-{self._clock()}", model=MODEL)
        script = asyncio.create_task(self._script(watcher))
        try:
            with FlagReader(self._flags.path) as flags:
                driver = LoadDriver(
                    arrivals,
                    self._fleet.urls,
                    flags,
                    visits,
                    speed=scenario.speed,
                    feedback=feedback,
                )
                async for counts in driver.run(every_s=0.5):
                    progress.sent = counts.sent
                    progress.answered = counts.ok
                    progress.errors = counts.failed + counts.rejected
                    progress.aborted = counts.aborted
                    if self._stopping.is_set():
                        return
                    self._stack.check()
            await script
        finally:
            script.cancel()
            await producer.stop()

    async def _script(self, watcher: Watcher) -> None:
        scenario, progress = self._scenario, self.progress
        await asyncio.sleep(scenario.promote_at_s)
        progress.doing = f"{BAD_VERSION} was promoted, and is bad"
        self._flags.set_variant(
            FlagKey.MODEL_VERSION,
            BAD_VERSION,
            by="release pipeline",
            reason=f"promote {BAD_VERSION}",
            at_us=self._clock(),
        )
        await asyncio.sleep(scenario.outage_at_s - scenario.promote_at_s)
        progress.doing = f"provider {PRIMARY} is down"
        await asyncio.to_thread(
            watcher.note, "outage_began", f"provider {PRIMARY} goes down", self._clock()
        )
        await self._fleet.outage(PRIMARY)

    def _settle(self) -> None:
        """Wait until the last rows and the last steps are in, or the patience is over."""
        self.progress.doing = "all sent; the last windows close, incidents resolve"
        deadline = time.monotonic() + self._scenario.settle_s
        while time.monotonic() < deadline and not self._stopping.is_set():
            self._stack.check()
            ended = self.progress.answered + self.progress.errors + self.progress.aborted
            steps = all(moment.name in self.progress.moments for moment in MOMENTS)
            quiet = not any(i.open for i in self.receiver.board.incidents.all())
            if rows_in_store(self.client)[0] >= ended and steps and quiet:
                time.sleep(1.5)  # what was sent twice would still come
                return
            time.sleep(0.5)
