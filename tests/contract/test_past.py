"""A worker that begins, on the real store: it says what the one before would have said."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

import pytest

from detectors.closed_window import Window
from schemas.clickhouse.migrate import migrate
from schemas.engine import EngineSample
from schemas.evaluation import EvalOutcome, EvalResult
from schemas.event import new_event_id
from schemas.feedback import FeedbackEvent, Thumb
from schemas.settings import ClickHouseSettings, DriftSettings, JudgeSettings, StreamSettings
from schemas.signal import Signal, SignalName, SignalQuery
from schemas.topics import Topics
from streams.drift import DriftAgent
from streams.engine import EngineAgent
from streams.errors import StoreUnavailableError
from streams.feedback import FeedbackAgent
from streams.past import Past
from streams.performance import PerformanceAgent
from streams.quality import QualityAgent
from streams.rows import columns_of, window_rows
from streams.signals import SignalsAgent
from streams.sink import SINKS
from streams.store import Store
from tests.contract.conftest import STORE_PASSWORD
from tests.support.figures import QUERIES, SIZE_US, START_US, rolled, said
from tests.support.streams import Outbox
from tocsin.embedded.store import StoreAddress

COUNT = 120
FACTS = (
    SignalQuery(SignalName.QUALITY_SCORE, 200, ("model",)),
    SignalQuery(SignalName.FEEDBACK_POSITIVE_RATE, 200, ("model",)),
    SignalQuery(SignalName.GPU_UTILIZATION, 100, ("server",)),
)
EVALS = (
    "eval_id", "event_id", "request_id", "request_end", "at", "evaluator", "judge_model", "labels",
    "outcome", "score",
)  # fmt: skip


@pytest.fixture
async def store(store: StoreAddress, database: str) -> AsyncIterator[Store]:
    settings = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database=database
    )
    migrate(settings)
    opened = Store(settings)
    yield opened
    opened.close()


class Worker:
    """The figures of a worker, from its own windows on."""

    def __init__(self, store: Store) -> None:
        self.outbox, self.store = Outbox(), store
        past = Past(store, StreamSettings().dimensions)
        drift = DriftSettings(reference_requests=400, current_requests=60)
        nothing: Any = None
        self.quality = QualityAgent(
            JudgeSettings(), FACTS, store, nothing, lambda: 0, lambda _: None
        )
        self.feedback = FeedbackAgent(FACTS, store, nothing, lambda: 0, lambda _: None)
        self.engine = EngineAgent(FACTS)
        self.signals = SignalsAgent(
            [
                PerformanceAgent(QUERIES, SIZE_US),
                DriftAgent(drift, QUERIES),
                self.quality,
                self.feedback,
                self.engine,
            ],
            self.outbox,
            past,
        )

    async def close(self, number: int, windows: Sequence[Window]) -> None:
        """Hand on a window's end as merging does."""
        end_us = START_US + number * SIZE_US
        await self.signals.resume(end_us)
        await self.store.insert("windows", window_rows(windows))
        self.signals.take_in(windows)
        await self.signals.evaluate(end_us, lag_s=1.0)

    def said(self, number: int) -> dict[tuple[object, ...], Signal]:
        signals: list[Signal] = self.outbox.of(Topics.SIGNALS)
        end_us = START_US + number * SIZE_US
        return said([signal for signal in signals if signal.window_end_us == end_us])


async def facts(worker: Worker) -> None:
    """Let a worker hear scores, thumbs and samples, and the store with it."""
    rng = random.Random(4)
    results, samples, rows = [], [], []
    for second in range(0, COUNT * 10, 3):
        at_us = START_US + second * 1_000_000
        results.append(
            EvalResult(
                schema_version=1, eval_id=new_event_id(), event_id=new_event_id(),
                request_id=f"r{second}", request_end_us=at_us, at_us=at_us + 5, evaluator="judge",
                judge_model="j", labels={"model": rng.choice("ab")}, outcome=EvalOutcome.SCORED,
                score=rng.random(),
            )
        )  # fmt: skip
        samples.append(
            EngineSample(
                schema_version=1, server=rng.choice("xy"), engine_index=0, at_us=at_us, model="a",
                running_requests=1, waiting_requests=2,
                gpu_utilization=rng.choice([None, rng.random()]),
            )
        )  # fmt: skip
        thumb = FeedbackEvent(
            schema_version=1, feedback_id=new_event_id(), request_id=f"r{second % 90}",
            at_us=at_us, user_id="u", thumb=rng.choice(list(Thumb)),
        )  # fmt: skip
        labels = {"provider": "p", "model": "a", "model_version": "", "feature": ""}
        worker.feedback._feedback.add(thumb, labels)
        rows.append({
            "feedback_id": thumb.feedback_id, "request_id": thumb.request_id, "at": at_us,
            "user_id": "u", "thumb": str(thumb.thumb), "matched": True, **labels,
        })  # fmt: skip
    for result in results:
        worker.quality._quality.add(result)
    for sample in samples:
        worker.engine._engines.add(sample)
    sink = next(sink for sink in SINKS if sink.table == "engine_samples")
    await worker.store.insert("evals", columns_of(results, EVALS))
    await worker.store.insert("engine_samples", columns_of(samples, sink.columns))
    await worker.store.insert("feedback", {name: [row[name] for row in rows] for name in rows[0]})


async def test_wherever_a_worker_begins_it_goes_on_as_the_one_before(store: Store) -> None:
    told = rolled(11, COUNT, silent=range(60, 66))
    one = Worker(store)
    await facts(one)
    others = {}
    for number, windows in enumerate(told, 1):
        await one.close(number, windows)
        if (first := number - 3) in (2, 101):  # it died four windows on
            other = others[first] = Worker(store)
            for again in range(first, first + 12):
                known = told[again - 1]
                if again == first:  # the log has but a part of it still
                    known = [replace(w, requests=1, sketches={}) for w in known[:1]]
                await other.close(again, known)
    names = {signal.signal for signal in one.outbox.of(Topics.SIGNALS) if signal.value is not None}
    assert names >= {query.signal for query in (*QUERIES, *FACTS)}
    for first, other in others.items():
        for number in range(first, first + 12):
            assert other.said(number) == one.said(number), number


async def test_the_newest_revision_counts_once_and_other_labels_are_kept(store: Store) -> None:
    (windows,) = rolled(3, 1)
    window = replace(windows[0], labels={**windows[0].labels, "region": "eu"}, requests=5)
    for requests in (9, 5):  # what came last was said again by a worker with less of the log
        await store.insert("windows", window_rows([replace(window, requests=requests)]))
    past = Past(store, StreamSettings().dimensions)
    found = [w async for w in past.windows(START_US, sketches=("e2e_s",))]
    assert [(w.requests, w.labels, w.cost_nano_usd) for (w,) in found] == [
        (9, window.labels, window.cost_nano_usd)
    ]
    assert found[0][0].sketches == {"e2e_s": window.sketches["e2e_s"]}
    assert await past.heard(START_US, START_US + 2 * SIZE_US) == [(window.labels, window.end_us)]


async def test_a_sketch_of_another_version_is_unknown_and_its_neighbours_are_not(
    store: Store,
) -> None:
    told = rolled(3, 6)
    await store.insert("windows", window_rows([w for windows in told for w in windows]))
    await store.query(
        "INSERT INTO windows SELECT * REPLACE (requests + 1 AS requests, 'later' AS e2e_sketch)"
        " FROM windows ORDER BY window_end LIMIT 1"
    )
    past = Past(store, StreamSettings().dimensions)
    found = [w async for windows in past.windows(START_US, sketches=("e2e_s",)) for w in windows]
    assert [sum("e2e_s" in w.sketches for w in found), len(found)] == [
        sum(map(len, told)) - 1, sum(map(len, told)),
    ]  # fmt: skip


async def test_a_damaged_memory_is_told_and_nothing_else_is_lost(store: Store) -> None:
    told = rolled(5, 70)
    one = Worker(store)
    for number, windows in enumerate(told[:69], 1):
        await one.close(number, windows)
    damage = "INSERT INTO detector_memory SELECT * REPLACE ('{}' AS state, at + 1 AS at) "
    await store.query(
        damage + "FROM detector_memory WHERE asked LIKE 'cost_rate_ratio%' ORDER BY at DESC LIMIT 1"
    )
    other = Worker(store)
    await one.close(70, told[69])
    await other.close(70, told[69])
    mine, theirs = one.said(70), other.said(70)
    differ = {key[0] for key in theirs if theirs[key] != mine[key]}
    assert differ == {SignalName.COST_RATE_RATIO}


async def test_a_store_that_is_away_leaves_nothing_half_resumed(store: Store) -> None:
    worker = Worker(store)
    told = rolled(7, 30)
    for number, windows in enumerate(told[:29], 1):
        await worker.close(number, windows)

    class Away(Past):
        async def learnt(self, asked: Any, before_us: int) -> Any:
            raise StoreUnavailableError("away")

    other = Worker(store)
    past, other.signals._past = other.signals._past, Away(store, StreamSettings().dimensions)
    for _ in range(2):
        with pytest.raises(StoreUnavailableError):
            await other.close(30, told[29])
    assert other.outbox.sent == []
    other.signals._past = past
    await worker.close(30, told[29])
    await other.close(30, told[29])
    assert other.said(30) == worker.said(30)
