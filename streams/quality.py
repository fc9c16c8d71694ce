"""Judge-sampled quality: a share of requests, chosen by their id's hash, scored by a judge.

What cannot be scored is an EvalResult too, with its outcome and no score: it is counted, and
never a zero.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from typing import Any, Final

import structlog
from pydantic import ValidationError

from detectors.closed_window import Window
from detectors.quality import Quality
from detectors.sampling import sampled
from schemas.base import SCHEMA_VERSION
from schemas.clock import Clock
from schemas.evaluation import EvalOutcome, EvalResult
from schemas.event import RequestEvent, new_event_id
from schemas.settings import JudgeSettings
from schemas.signal import Signal, SignalQuery
from schemas.topics import Topics
from streams import metrics
from streams.app import Hold
from streams.batch import Batch
from streams.errors import AbandonedError
from streams.inserts import Inserts, insert_each
from streams.judge import BadVerdictError, Judge, JudgeError
from streams.letters import Publishes
from streams.past import Past
from streams.retry import until_done
from streams.rows import columns_of

__all__ = ["QualityAgent"]

log = structlog.get_logger(__name__)

_COLUMNS: Final = (
    "eval_id",
    "event_id",
    "request_id",
    "request_end",
    "at",
    "evaluator",
    "judge_model",
    "labels",
    "outcome",
    "score",
    "explanation",
)

_PAST: Final = """
    SELECT eval_id, event_id, request_id, toUnixTimestamp64Micro(request_end),
           toUnixTimestamp64Micro(at), evaluator, judge_model, labels, outcome, score
    FROM evals
    WHERE request_end > fromUnixTimestamp64Micro({since:Int64}, 'UTC')
"""


class QualityAgent:
    """Samples, asks the judge beside the stream, publishes results and turns them into signals."""

    def __init__(
        self,
        settings: JudgeSettings,
        queries: Sequence[SignalQuery],
        store: Inserts,
        publisher: Publishes,
        clock: Clock,
        hold: Hold,
    ) -> None:
        self._settings = settings
        self._store = store
        self._publisher = publisher
        self._clock = clock
        self._hold = hold
        self._judge = Judge(settings) if settings.base_url else None
        self._queue: asyncio.Queue[RequestEvent] = asyncio.Queue(settings.queue)
        self._results: list[EvalResult] = []
        self._publishing = asyncio.Lock()
        self._queries: Collection[SignalQuery] = queries
        self._quality = Quality(queries)

    def offer(self, batch: Batch) -> None:
        """Queue the sampled requests of a batch; what finds no room is counted as skipped.

        Only answers are judged: rejected, failed and aborted requests have other signals.
        """
        if self._judge is None:
            return
        columns = batch.columns
        chosen = sampled(columns.values("request_id"), self._settings.sample_rate)
        chosen &= ~(columns.failed | columns.rejected | columns.bools("aborted"))
        for place in chosen.nonzero()[0].tolist():
            event = columns.event(place)
            try:
                self._queue.put_nowait(event)
            except asyncio.QueueFull:
                self._results.append(self._result(event, EvalOutcome.SKIPPED))

    async def work(self) -> None:
        """Judge queued requests for ever, a few at once."""
        if self._judge is None:
            return
        async with asyncio.TaskGroup() as group:
            for _ in range(self._settings.concurrency):
                group.create_task(self._work(self._judge))

    async def publish(self) -> None:
        """Send the results so far; also called by a timer, for what was skipped."""
        async with self._publishing:
            results, self._results = self._results, []
            items = [(result.request_id, result) for result in results]
            await until_done("evals", lambda: self._publisher.send_many(Topics.EVALS, items))
            for result in results:
                metrics.EVALS.labels(outcome=result.outcome.value).inc()

    async def close(self) -> None:
        """Close the judge's connections."""
        if self._judge is not None:
            await self._judge.close()

    async def run(self, stream: Any) -> None:
        """Process ``llm.evals`` for ever: rows, and samples for the signals."""
        async for events in stream.noack_take(500, within=0.2):
            try:
                await self._record(events)
            except AbandonedError:
                self._hold(events)
                continue
            except Exception:
                metrics.REFUSED.labels(topic=Topics.EVALS.name).inc(len(events))
                log.exception("evals_fail", messages=len(events))
            metrics.RECORDS.labels(topic=Topics.EVALS.name).inc(len(events))
            for event in events:
                event.ack()

    def take_in(self, windows: Sequence[Window]) -> None:
        """Do nothing: scores come from ``llm.evals``."""

    def reask(self, queries: Collection[SignalQuery]) -> None:
        """Answer other queries from now on."""
        self._queries = queries
        self._quality.reask(queries)

    def forget(self) -> None:
        """Begin anew."""
        self._quality = Quality(self._queries)

    async def resume(self, past: Past, first_us: int) -> None:
        """Read the scores of the lookbacks, and those that came since."""
        if not self._quality.longest_us:
            return
        since_us = first_us - 2 * self._quality.longest_us
        names = ("eval_id", "event_id", "request_id", "request_end_us", "at_us", *_COLUMNS[5:10])
        for row in await past.rows(_PAST, {"since": since_us}):
            figures: dict[str, Any] = dict(zip(names, row, strict=True))
            self._quality.add(EvalResult(schema_version=SCHEMA_VERSION, **figures))

    async def signals(self, end_us: int) -> Sequence[Signal]:
        """Return the mean scores at a window's end."""
        return self._quality.evaluate(end_us)

    async def _work(self, judge: Judge) -> None:
        while True:
            event = await self._queue.get()
            try:
                result = await self._evaluate(judge, event)
            except Exception as error:
                log.exception("judging_fails", event_id=str(event.event_id))
                said = type(error).__name__
                result = self._result(event, EvalOutcome.JUDGE_ERROR, explanation=said)
            self._results.append(result)
            await self.publish()

    async def _record(self, events: Sequence[Any]) -> None:
        results = [result for event in events if (result := _decode(event)) is not None]
        for row in await insert_each(self._store, "evals", columns_of(results, _COLUMNS)):
            metrics.REFUSED.labels(topic=Topics.EVALS.name).inc()
            log.error("eval_refused", eval_id=str(results[row.index].eval_id), error=row.detail)
        for result in results:
            self._quality.add(result)

    async def _evaluate(self, judge: Judge, event: RequestEvent) -> EvalResult:
        if event.prompt_redacted is None or event.output_redacted is None:
            return self._result(event, EvalOutcome.NO_TEXT)
        try:
            verdict = await judge.score(event.prompt_redacted, event.output_redacted)
        except BadVerdictError as error:
            return self._result(event, EvalOutcome.BAD_ANSWER, explanation=str(error))
        except JudgeError as error:
            return self._result(event, EvalOutcome.JUDGE_ERROR, explanation=str(error)[:500])
        return self._result(
            event, EvalOutcome.SCORED, score=verdict.normalized, explanation=verdict.explanation
        )

    def _result(
        self,
        event: RequestEvent,
        outcome: EvalOutcome,
        *,
        score: float | None = None,
        explanation: str | None = None,
    ) -> EvalResult:
        return EvalResult(
            schema_version=SCHEMA_VERSION,
            eval_id=new_event_id(),
            event_id=event.event_id,
            request_id=event.request_id,
            request_end_us=event.end_time_us,
            at_us=self._clock(),
            evaluator="judge",
            judge_model=self._settings.model,
            labels={
                "provider": event.provider,
                "model": event.model,
                "model_version": event.model_version,
                "route": event.route.value,
                "feature": event.feature or "",
            },
            outcome=outcome,
            score=score,
            explanation=explanation,
        )


def _decode(event: Any) -> EvalResult | None:
    try:
        return EvalResult.model_validate_json(event.value or b"")
    except ValidationError as error:
        metrics.REFUSED.labels(topic=Topics.EVALS.name).inc()
        log.error("eval_refused", offset=event.message.offset, error=str(error)[:500])
        return None
