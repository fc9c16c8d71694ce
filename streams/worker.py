"""Wire the agents to their topics, and run them as one worker."""

from __future__ import annotations

import asyncio
import functools
import gc
from collections.abc import Awaitable, Callable
from typing import Any, Final
from uuid import uuid4

import structlog

from alerting.notifiers.build import build_notifiers
from alerting.policy import Policy
from alerting.rules import RuleSet
from schemas.clock import Clock, Elapsed, elapsed_clock, system_clock
from schemas.pricing import load_price_book
from schemas.settings import Settings
from schemas.signal import SignalName, SignalQuery
from schemas.topics import Topic, Topics
from streams import metrics
from streams.alert import AlertAgent
from streams.app import App, create_app
from streams.command import CommandAgent
from streams.cost import CostAgent
from streams.dispatch import DispatchAgent
from streams.drift import DriftAgent
from streams.engine import EngineAgent
from streams.errors import AbandonedError
from streams.explain import Explainer
from streams.explaining import Explaining
from streams.feedback import FeedbackAgent
from streams.ingest import IngestAgent
from streams.memory import trim
from streams.merge import MergeAgent
from streams.mirror import MirrorAgent, Mirrors
from streams.notify import NotifyAgent
from streams.ownership import Ownership
from streams.past import Past
from streams.performance import PerformanceAgent
from streams.prepare import Preparer
from streams.publish import Publisher
from streams.quality import QualityAgent
from streams.reload import RulesFile
from streams.replay import Replay
from streams.requests_table import RequestsTable
from streams.signals import SignalsAgent, SignalSource
from streams.silences import Silences
from streams.sink import SINKS, SinkAgent
from streams.store import Store
from streams.storing import Storing
from streams.tables import text_table
from streams.tail import WindowsTail
from streams.windows import WindowsAgent

__all__ = ["build_app"]

log = structlog.get_logger(__name__)

Body = Callable[[Any], Awaitable[None]]

_HOUR_S: Final = 3_600.0
_CHUNKS_WAITING: Final = 4
_TRIM_S: Final = 10.0
_ROWS: Final = 1_000
"""How many a sink inserts at once."""


def build_app(
    settings: Settings, clock: Clock = system_clock, elapsed: Elapsed = elapsed_clock
) -> App:
    """Return the application with every agent on its topic.

    Raises:
        TocsinError: the rules or the price book are wrong.
    """
    streams = settings.streams
    scale = streams.time_scale
    rules_file = RulesFile(settings.alerting.rules)
    modes = settings.alerting.modes
    rules = rules_file.rules.restrained(modes).scaled(scale)
    prices = load_price_book(settings.prices.path)
    queries = _queries(rules, scale)

    app = create_app(settings)
    publisher = Publisher(app)
    # Stores of their own, so that a long query never holds up the inserts.
    ingest_store, merge_store, sink_store, explain_store = (
        Store(settings.clickhouse, lambda: app.leaving, app.may_write) for _ in range(4)
    )

    windows = WindowsAgent(streams, publisher, elapsed, app)
    quality = QualityAgent(settings.judge, queries, sink_store, publisher, clock, app.hold)
    table = RequestsTable(ingest_store, writer=uuid4().hex[:16])
    replay = Replay(settings.kafka.log_id, ingest_store, table, WindowsTail(settings.kafka))
    preparer = Preparer(settings, prices, clock)
    storing = Storing(table, publisher, preparer, windows, quality, clock)
    ingest = IngestAgent(settings, storing, replay, preparer, windows, app)
    feedback = FeedbackAgent(
        queries,
        sink_store,
        publisher,
        clock,
        app.hold,
        future_us=round(streams.future_s * 1e6),
    )
    cost = CostAgent(
        merge_store,
        clock,
        lookback_us=round(_HOUR_S / scale * 1e6),
        every_us=round(60 / scale * 1e6),
    )
    drift = DriftAgent(settings.drift, queries)
    engine = EngineAgent(queries)
    sources: list[SignalSource] = [
        PerformanceAgent(queries, streams.window_us),
        drift,
        cost,
        quality,
        feedback,
        engine,
    ]
    signals = SignalsAgent(sources, publisher, Past(merge_store, streams.dimensions))
    merge = MergeAgent(
        streams,
        merge_store,
        signals,
        clock,
        elapsed,
        app.hold,
        owners=text_table(app, "window-owners"),
        partitions=app.partitions,
    )
    outbox = text_table(app, "notification-outbox")
    silences = Silences(outbox)
    alert = AlertAgent(
        rules,
        Policy.from_settings(settings.alerting).scaled(scale),
        text_table(app, "alert-states"),
        publisher,
        max_lag_s=settings.alerting.max_watermark_lag_s,
        text=lambda: rules_file.text,
        silences=silences,
    )
    receivers = build_notifiers(settings.notify)
    mirrors = [MirrorAgent(one, outbox, clock) for one in receivers if isinstance(one, Mirrors)]
    lease_s = 2 * settings.notify.timeout_s

    async def durable() -> None:
        await app.producer.flush()

    notifiers = [
        NotifyAgent(one, outbox, clock, lease_s=lease_s, durable=durable)
        for one in receivers
        if not isinstance(one, Mirrors)
    ]
    outboxes: list[NotifyAgent | MirrorAgent] = [*notifiers, *mirrors]
    for notify in notifiers:
        notify.alarm([other for other in outboxes if other is not notify])
    for mirror in mirrors:
        mirror.alarm(notifiers)
    explaining = Explaining(Explainer(explain_store))
    dispatch = DispatchAgent(
        settings.grouping.scaled(scale),
        outbox,
        silences,
        notifiers,
        clock,
        mirrors=mirrors,
        inhibitions=rules.inhibitions,
        on_told=explaining.want,
    )

    def adopt(written: RuleSet) -> None:
        adopted = written.restrained(modes).scaled(scale)
        signals.reask(_queries(adopted, scale))
        alert.adopt(adopted)
        dispatch.adopt(adopted.inhibitions)

    rules_file.listen(adopt)
    command = CommandAgent(dispatch, silences, publisher, alert.acknowledge, alert.decide)

    _agent(app, Topics.REQUESTS, "ingest", ingest.run)
    _agent(app, Topics.WINDOWS, "merge", merge.run)
    _agent(app, Topics.EVALS, "quality", quality.run)
    _agent(app, Topics.FEEDBACK, "feedback", feedback.run)
    _agent(app, Topics.ENGINE, "engine", engine.run)
    _agent(app, Topics.SIGNALS, "alert", alert.run)
    _agent(app, Topics.ACTIONS, "action", alert.run_results)
    _agent(app, Topics.NOTIFICATIONS, "dispatch", dispatch.run)
    _agent(app, Topics.COMMANDS, "command", command.run)
    app.task(dispatch.work)

    async def explain() -> None:
        await explaining.run(dispatch.notices, dispatch.look_at)

    app.task(explain)
    for outbox_agent in outboxes:
        app.task(outbox_agent.work)
    for sink in SINKS:
        most = _ROWS // app.chunked.get(sink.topic.name, 1)
        body = SinkAgent(sink, sink_store, settings.kafka.log_id, app.hold, most).run
        _agent(app, sink.topic, f"sink-{sink.table}", body)

    flush_s = max(0.1, streams.flush_s / scale)
    _timer(app, flush_s / 5, "flush-windows", windows.flush_if_due)
    _timer(app, flush_s, "advance-windows", merge.advance)
    _timer(app, 1.0, "tell-of-held-windows", merge.tell)
    _timer(app, 1.0, "join-feedback", feedback.join)
    _timer(app, 1.0, "publish-evals", quality.publish)
    app.task(ingest.work)
    _timer(app, 1.0, "reload-rules", rules_file.look)
    app.task(quality.work)

    ownership = Ownership(app, windows, ingest, (merge, feedback), (*outboxes, dispatch))
    ownership.connect()

    async def stopped(_: App, **__: Any) -> None:
        await ownership.leave()
        await quality.close()
        for store in (ingest_store, merge_store, sink_store, explain_store):
            store.close()

    app.on_before_shutdown.connect(stopped, weak=False)

    async def return_memory() -> None:
        await asyncio.to_thread(trim)

    _timer(app, _TRIM_S, "return-memory", return_memory)

    async def ready() -> None:
        gc.freeze()  # what lives as long as the worker need not be looked through again
        metrics.WORKER_READY.set(1)
        log.info("worker_ready", rules=len(rules.rules))

    async def warm() -> None:
        for store in (ingest_store, merge_store, sink_store):
            await store.warm()

    app.task(warm)
    app.task(ready)
    app.task(drift.load)
    return app


def _queries(rules: RuleSet, scale: float) -> list[SignalQuery]:
    return sorted({*rules.queries(), *_always(scale)}, key=repr)


def _always(scale: float) -> set[SignalQuery]:
    """Return what is said whether or not a rule asks: the cost rates by model and feature."""
    over_s = _HOUR_S / scale
    return {
        SignalQuery(SignalName.COST_RATE, over_s, ("model",)),
        SignalQuery(SignalName.COST_RATE, over_s, ("feature",)),
    }


def _agent(app: App, topic: Topic, name: str, body: Body) -> None:
    async def agent(stream: Any) -> None:
        await body(stream)

    source = app.topic(topic.name, key_type=bytes, value_type=bytes)
    if topic == Topics.REQUESTS:
        # A chunk of these is a megabyte, so few may wait; of others one may be but a record, and
        # who waits for a store that is away must not hold up all topics. Faust's app.topic() takes
        # a maxsize, too, but forgets it.
        source.maxsize = _CHUNKS_WAITING
    app.agent(source, name=name)(agent)


def _timer(app: App, seconds: float, name: str, body: Callable[[], Awaitable[None]]) -> None:
    @functools.wraps(body)
    async def timer() -> None:
        try:
            await body()
        except AbandonedError:
            return
        except Exception:
            log.exception("timer_failed", timer=name)

    app.timer(seconds, name=name)(timer)
