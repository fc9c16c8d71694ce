"""Send copies of requests to a version that is on trial, and throw the answers away."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp

from serving.gateway import metrics
from serving.gateway.attempt import Opened, Question, attempt
from serving.gateway.dialect import GarbageError, Wording
from serving.gateway.route import Hop
from serving.gateway.upstream import Upstream

__all__ = ["Shadows"]


class Shadows:
    """Copies under way, at most so many at once; those beyond are not sent and counted.

    A copy is no request of a client: it makes no event, touches no breaker and is charged to no
    limit. What it shows is counted by version in `tocsin_gateway_shadow_copies`.
    """

    def __init__(self, most: int = 64) -> None:
        self._most = most
        self._tasks: set[asyncio.Task[None]] = set()

    def send(
        self,
        hop: Hop,
        upstream: Upstream,
        question: Question,
        wording: Wording,
        headers: Mapping[str, str],
    ) -> None:
        """Send a copy in the background."""
        if len(self._tasks) >= self._most:
            _count(hop, "skipped")
            return
        task = asyncio.create_task(_ask(hop, upstream, question, wording, headers))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def close(self) -> None:
        """Break off what is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _ask(
    hop: Hop,
    upstream: Upstream,
    question: Question,
    wording: Wording,
    headers: Mapping[str, str],
) -> None:
    result = await attempt(upstream, question, wording, headers)
    if not isinstance(result, Opened):
        _count(hop, result.trouble)
        return
    outcome = "broken"
    try:
        size = 0
        with suppress(aiohttp.ClientError, GarbageError, TimeoutError):
            async with asyncio.timeout(question.patience_s):
                while not result.whole and (chunk := await result.read()):
                    size += len(chunk)
                    if size > question.answer_bytes:
                        return
                outcome = "ok"
    finally:
        result.response.close()
        _count(hop, outcome)


def _count(hop: Hop, outcome: str) -> None:
    metrics.SHADOWS.labels(hop.upstream, hop.version, outcome).inc()
