"""Judged quality: who is asked about, and that what got no score is counted and never a zero."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from openai._base_client import AsyncAPIClient
from prometheus_client import REGISTRY

from schemas.evaluation import EvalOutcome, EvalResult
from schemas.event import RequestEvent
from schemas.settings import JudgeSettings
from schemas.signal import SignalName, SignalQuery
from schemas.topics import Topics
from streams.batch import Batch
from streams.quality import QualityAgent
from tests.support.events import NOW_US, event, numbered_id
from tests.support.streams import batch_of
from tests.unit.streams.fakes import FakeEvent, FakePublisher, FakeStore, FakeStream, refuses
from tests.unit.streams.judge_server import JudgeServer, completion, judge_server

QUERY = SignalQuery(SignalName.QUALITY_SCORE, 300.0, ("model",))


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.retry._FIRST_S", 0.0)
    monkeypatch.setattr(AsyncAPIClient, "_calculate_retry_timeout", lambda *_: 0.0)


@pytest.fixture
async def server() -> AsyncIterator[JudgeServer]:
    async with judge_server() as judge:
        yield judge


def request(number: int, **fields: Any) -> RequestEvent:
    told = {"prompt_redacted": "2+2?", "output_redacted": "4"}
    ids = {"event_id": numbered_id(number), "request_id": f"request-{number}"}
    return event(**{**told, **ids, **fields})


def batch(*events: RequestEvent) -> Batch:
    return batch_of(events)


def counted(outcome: EvalOutcome) -> float:
    labels = {"outcome": outcome.value}
    return REGISTRY.get_sample_value("tocsin_evals_total", labels) or 0.0


class Sent(FakePublisher):
    """A publisher that tells when it was sent something."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__(failures)
        self.news = asyncio.Event()

    async def send_many(self, topic: Any, items: Any) -> None:
        await super().send_many(topic, items)
        self.news.set()


def agent(url: str, publisher: FakePublisher, store: FakeStore | None = None, **more: Any) -> Any:
    settings = JudgeSettings(base_url=url, **{"sample_rate": 1.0, **more})
    return QualityAgent(settings, [QUERY], store or FakeStore(), publisher, lambda: NOW_US, list)


async def judge_one(server: JudgeServer, asked: RequestEvent, failures: int = 0) -> EvalResult:
    publisher = Sent(failures)
    quality = agent(server.url, publisher)
    quality.offer(batch(asked))
    work = asyncio.create_task(quality.work())
    async with asyncio.timeout(30):
        await publisher.news.wait()
    work.cancel()
    await asyncio.gather(work, return_exceptions=True)
    await quality.close()
    (result,) = publisher.on(Topics.EVALS)
    return result


async def test_without_a_judge_nothing_is_queued() -> None:
    publisher = FakePublisher()
    quality = agent("", publisher, queue=1)
    quality.offer(batch(request(1), request(2)))
    await quality.work()
    await quality.publish()
    assert publisher.sent == []


async def test_only_answers_are_judged() -> None:
    publisher = FakePublisher()
    quality = agent("http://127.0.0.1:9/v1", publisher, queue=1)
    failed = request(1, status_code=500, error_type="500")
    rejected = request(2, status_code=400, error_type="400")
    aborted = request(3, aborted=True)
    assert (failed.failed, rejected.rejected, aborted.aborted) == (True, True, True)
    quality.offer(batch(failed, rejected, aborted, request(4), request(5)))
    await quality.publish()
    # The queue has one place: the first answer took it, the second found none.
    assert [result.request_id for result in publisher.on(Topics.EVALS)] == ["request-5"]
    await quality.close()


async def test_a_full_queue_is_told_and_counted() -> None:
    before = counted(EvalOutcome.SKIPPED)
    publisher = FakePublisher(failures=2)
    quality = agent("http://127.0.0.1:9/v1", publisher, queue=1)
    quality.offer(batch(request(1), request(2), request(3)))
    await quality.publish()
    results = publisher.on(Topics.EVALS)
    assert [(r.outcome, r.score) for r in results] == [(EvalOutcome.SKIPPED, None)] * 2
    assert counted(EvalOutcome.SKIPPED) - before == 2
    await quality.close()


async def test_a_score_is_published_once_the_broker_takes_it(server: JudgeServer) -> None:
    result = await judge_one(server, request(1), failures=2)
    assert (result.outcome, result.score, result.explanation) == (EvalOutcome.SCORED, 0.75, "fine")
    assert (result.request_id, result.labels["model"]) == ("request-1", "llama-3.1-70b")


@pytest.mark.parametrize("missing", ["prompt_redacted", "output_redacted"])
async def test_without_text_there_is_no_score(server: JudgeServer, missing: str) -> None:
    before = counted(EvalOutcome.NO_TEXT)
    result = await judge_one(server, request(1, **{missing: None}))
    assert (result.outcome, result.score) == (EvalOutcome.NO_TEXT, None)
    assert counted(EvalOutcome.NO_TEXT) - before == 1
    assert server.asked == []


async def test_a_failing_judge_gives_no_score(server: JudgeServer) -> None:
    before = counted(EvalOutcome.JUDGE_ERROR)
    server.failures = 99
    result = await judge_one(server, request(1))
    assert (result.outcome, result.score) == (EvalOutcome.JUDGE_ERROR, None)
    assert b'"score"' not in result.to_json()
    assert counted(EvalOutcome.JUDGE_ERROR) - before == 1


async def test_a_bad_answer_gives_no_score(server: JudgeServer) -> None:
    before = counted(EvalOutcome.BAD_ANSWER)
    server.body = completion('{"score": 9, "explanation": ""}')
    result = await judge_one(server, request(1))
    assert (result.outcome, result.score) == (EvalOutcome.BAD_ANSWER, None)
    assert counted(EvalOutcome.BAD_ANSWER) - before == 1


async def test_what_got_no_score_is_a_row_but_in_no_mean(server: JudgeServer) -> None:
    scored = await judge_one(server, request(1))
    server.failures = 99
    unscored = await judge_one(server, request(2))
    store = FakeStore()
    quality = agent("", FakePublisher(), store)
    events = [FakeEvent(r.to_json(), i) for i, r in enumerate((scored, unscored))]
    garbage = FakeEvent(b"{", 2)
    await quality.run(FakeStream([*events, garbage]))
    assert [row["score"] for row in store.tables["evals"]] == [0.75, None]
    (signal,) = await quality.signals(NOW_US)
    assert (signal.value, signal.samples, signal.detail["unscored"]) == (0.75, 1, 1.0)
    assert [record.acked for record in (*events, garbage)] == [1, 1, 1]


async def test_only_unscored_requests_make_an_unknown_value(server: JudgeServer) -> None:
    unscored = await judge_one(server, request(1, output_redacted=None))
    store = FakeStore(check=refuses("request_id", "request-1"))
    quality = agent("", FakePublisher(), store)
    await quality.run(FakeStream([FakeEvent(unscored.to_json())]))
    assert [signal.value for signal in await quality.signals(NOW_US)] == [None]
