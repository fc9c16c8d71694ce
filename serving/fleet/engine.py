"""A model of an inference engine: queue, prefill and decode with continuous batching.

A request waits for a slot in the batch, then for a replica that is free to prefill; both count as
queueing, so that the time to first token is queue + prefill. From then on a token comes with each
step, and a step takes longer the more sequences run. Tokens of several short steps are handed over
together, so that a timer fires once a chunk, not once a token.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from random import Random

from serving.fleet.profile import Speed

__all__ = ["Overloaded", "Progress", "SimEngine"]


class Overloaded(Exception):  # noqa: N818 - an answer, not a defect
    """The queue is as long as it may get."""


@dataclass(slots=True)
class Progress:
    """One request's way through the engine; loop times and durations in seconds."""

    input_tokens: int
    output_tokens: int
    latency_factor: float
    random: Random
    arrived_at: float
    cached_tokens: int = 0
    scheduled_at: float | None = None
    first_token_at: float | None = None
    last_token_at: float | None = None
    produced: int = 0

    @property
    def queue_s(self) -> float:
        """Return the time from arrival to the start of the prefill."""
        return (self.scheduled_at or self.arrived_at) - self.arrived_at

    @property
    def prefill_s(self) -> float:
        """Return the time from the start of the prefill to the first token."""
        if self.first_token_at is None or self.scheduled_at is None:
            return 0.0
        return self.first_token_at - self.scheduled_at

    @property
    def decode_s(self) -> float:
        """Return the time from the first to the last token."""
        if self.first_token_at is None or self.last_token_at is None:
            return 0.0
        return self.last_token_at - self.first_token_at


class SimEngine:
    """One engine's batch.

    Args:
        speed: how fast it is.
        now: monotonic seconds, of the clock that `sleep` follows.
        sleep: waits for so many seconds.
    """

    def __init__(
        self,
        speed: Speed,
        *,
        now: Callable[[], float],
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.speed = speed
        self._now = now
        self._sleep = sleep
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._free_at = [0.0] * speed.replicas
        """When each replica can prefill again; a heap."""
        self.slots = speed.replicas * speed.max_num_seqs
        self.running = 0
        self._queries = 0
        self._hits = 0

    @property
    def waiting(self) -> int:
        """Return how many requests have no slot yet."""
        return len(self._waiting)

    def take_cache_counts(self) -> tuple[int, int]:
        """Return prompt tokens, and those of them found in the cache, since the last call."""
        counts = self._queries, self._hits
        self._queries = self._hits = 0
        return counts

    def arrive(
        self, *, input_tokens: int, output_tokens: int, latency_factor: float, random: Random
    ) -> Progress:
        """Return the way of a new request."""
        cached = 0
        if random.random() < self.speed.cached_share:
            cached = int(input_tokens * random.random()) // 16 * 16  # whole blocks, as engines do
        self._queries += input_tokens
        self._hits += cached
        return Progress(
            input_tokens=input_tokens,
            output_tokens=output_tokens,
            latency_factor=latency_factor,
            random=random,
            arrived_at=self._now(),
            cached_tokens=cached,
        )

    async def run(self, progress: Progress) -> AsyncGenerator[int, None]:
        """Yield how many tokens are ready each time that some are, the first one alone.

        Raises:
            Overloaded: the queue is full.
        """
        await self._take_slot()
        try:
            await self._prefill(progress)
            progress.produced = 1
            yield 1
            due = progress.first_token_at or self._now()
            while progress.produced < progress.output_tokens:
                step = self._step_s()
                count = max(1, round(self.speed.chunk_s / step))
                count = min(count, progress.output_tokens - progress.produced)
                due += count * step * progress.latency_factor * _noise(self.speed.noise, progress)
                await self._until(due)
                progress.produced += count
                progress.last_token_at = self._now()
                yield count
        finally:
            self._give_slot()

    async def _prefill(self, progress: Progress) -> None:
        fresh = max(1, progress.input_tokens - progress.cached_tokens)
        busy = fresh / self.speed.prefill_tokens_per_s * _noise(self.speed.noise, progress)
        busy *= progress.latency_factor
        begin = max(self._now(), self._free_at[0])
        heapq.heapreplace(self._free_at, begin + busy)
        await self._until(begin)
        progress.scheduled_at = self._now()
        await self._until(begin + busy + self._step_s() * progress.latency_factor)
        progress.first_token_at = progress.last_token_at = self._now()

    def _step_s(self) -> float:
        """Return how long a decode step takes with the present batch."""
        others = max(0.0, self.running / self.speed.replicas - 1)
        return self.speed.step_s * (1 + self.speed.step_growth * others)

    async def _until(self, due: float) -> None:
        # Also when it is late: a loop that never yields would starve everybody else.
        await self._sleep(max(0.0, due - self._now()))

    async def _take_slot(self) -> None:
        if self.running < self.slots and not self._waiting:
            self.running += 1
            return
        if self.waiting >= self.speed.max_queued:
            raise Overloaded
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            await turn  # the slot is handed over, `running` stays as it is
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._give_slot()
            else:
                with suppress(ValueError):
                    self._waiting.remove(turn)
            raise

    def _give_slot(self) -> None:
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self.running -= 1


def _noise(sigma: float, progress: Progress) -> float:
    """Return a lognormal factor of mean 1."""
    return progress.random.lognormvariate(-sigma * sigma / 2, sigma) if sigma else 1.0
