"""Clients of the gateway, by OpenAI's own package, and a ledger of what each request came to."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import openai
from openai import AsyncOpenAI

from tests.demo_vllm.scenario import MODEL

__all__ = ["Outcome", "Sent", "Traffic", "now_us"]

_PROMPTS: Final = (
    "When does the bell ring?",
    "What is measured, and what is counted?",
    "Which version comes back when nobody answers the page?",
    "Count from one to a hundred.",
)
_WHOLE_EVERY: Final = 8
"""One request in so many wants its answer in one piece."""
_USAGE_EVERY: Final = 3
"""One stream in so many asks for its usage."""


class Outcome(StrEnum):
    """What a client made of an answer."""

    UNDER_WAY = "under way"
    ANSWERED = "answered"
    BROKEN = "broken"
    """A stream that ended with an error which the server told."""
    CUT = "cut"
    """A stream that ended without an end: the client cannot know that a part is missing."""
    REFUSED = "refused"
    LOST = "lost"
    """No answer at all."""


@dataclass(slots=True)
class Sent:
    """One request as its client saw it; times are UTC microseconds."""

    request_id: str
    stream: bool
    tokens: int
    started_us: int
    first_us: int | None = None
    ended_us: int | None = None
    pieces: int = 0
    outcome: Outcome = Outcome.UNDER_WAY
    status: int | None = None
    said: str = ""
    told_tokens: int | None = None
    echoed_id: str | None = None


def now_us() -> int:
    return time.time_ns() // 1_000


@dataclass
class Traffic:
    """So many clients that each ask again as soon as they are answered.

    Args:
        name: begins every request's id.
        url: with `/v1`.
        key: for `Authorization`.
        model: what is asked for.
    """

    name: str
    url: str
    key: str
    model: str = MODEL
    tokens: int = 48
    ledger: list[Sent] = field(default_factory=list)

    def __post_init__(self) -> None:
        # What one attempt came to is to be seen, so nothing is tried again behind the scenes.
        self._client = AsyncOpenAI(base_url=self.url, api_key=self.key, max_retries=0, timeout=60)
        self._numbers = itertools.count()
        self._tasks: list[asyncio.Task[None]] = []
        self._wanted = 0

    def clients(self, count: int) -> None:
        """Let so many clients ask from now on; those beyond end with their present request."""
        self._wanted = count
        self._tasks = [task for task in self._tasks if not task.done()]
        self._tasks += [
            asyncio.create_task(self._run(place)) for place in range(len(self._tasks), count)
        ]

    async def close(self) -> None:
        """Let every client finish what it has asked."""
        self._wanted = 0
        await asyncio.gather(*self._tasks)
        self._tasks.clear()

    def mid_stream(self) -> list[Sent]:
        """Return the streams of which the client has a part, but not yet the half."""
        under_way = (s for s in self.ledger if s.outcome is Outcome.UNDER_WAY)
        return [s for s in under_way if 0 < s.pieces < s.tokens / 2]

    def since(self, at_us: int) -> Iterator[Sent]:
        """Yield the requests that began after a time."""
        return (sent for sent in self.ledger if sent.started_us > at_us)

    def count(self, outcome: Outcome) -> int:
        """Return how many requests came to this."""
        return sum(sent.outcome is outcome for sent in self.ledger)

    def pace_s(self, last: int = 40) -> float | None:
        """Return the mean duration of the newest streams that were answered."""
        times = [
            (s.ended_us - s.started_us) / 1e6
            for s in self.ledger[-last:]
            if s.stream and s.outcome is Outcome.ANSWERED and s.ended_us is not None
        ]
        return sum(times) / len(times) if times else None

    async def _run(self, place: int) -> None:
        while place < self._wanted:
            sent = await self.ask()
            if sent.outcome is not Outcome.ANSWERED:
                await asyncio.sleep(0.2)

    async def ask(self) -> Sent:
        """Send one request and enter what came of it."""
        number = next(self._numbers)
        stream = number % _WHOLE_EVERY != _WHOLE_EVERY - 1
        sent = Sent(f"{self.name}-{number}", stream, self.tokens, now_us())
        self.ledger.append(sent)
        asked: dict[str, Any] = {
            "model": self.model,
            "messages": [{"role": "user", "content": _PROMPTS[number % len(_PROMPTS)]}],
            "max_tokens": sent.tokens,
            "extra_body": {"ignore_eos": True},
            "extra_headers": {
                "X-Request-Id": sent.request_id,
                "X-Tocsin-User": f"user-{number % 50}",
                "X-Tocsin-Feature": "chat" if number % 2 else "search",
            },
        }
        try:
            await (self._stream(sent, asked, number) if stream else self._whole(sent, asked))
        except openai.APIStatusError as error:
            sent.outcome, sent.status, sent.said = Outcome.REFUSED, error.status_code, str(error)
        except openai.APIConnectionError as error:
            sent.outcome, sent.said = Outcome.LOST, f"{type(error).__name__}: {error.__cause__!r}"
        except openai.APIError as error:  # what stands in a stream
            sent.outcome, sent.said = Outcome.BROKEN, str(error)
        sent.ended_us = now_us()
        return sent

    async def _stream(self, sent: Sent, asked: dict[str, Any], number: int) -> None:
        if number % _USAGE_EVERY == 0:
            asked["stream_options"] = {"include_usage": True}
        raw = await self._client.chat.completions.with_raw_response.create(**asked, stream=True)
        sent.status, sent.echoed_id = raw.status_code, raw.headers.get("x-request-id")
        ended = False
        async for chunk in raw.parse():
            for choice in chunk.choices:
                if choice.delta.content is not None and choice.delta.role is None:
                    sent.pieces += 1
                    sent.first_us = sent.first_us or now_us()
                ended = ended or choice.finish_reason is not None
            if chunk.usage is not None:
                sent.told_tokens = chunk.usage.completion_tokens
        sent.outcome = Outcome.ANSWERED if ended else Outcome.CUT

    async def _whole(self, sent: Sent, asked: dict[str, Any]) -> None:
        raw = await self._client.chat.completions.with_raw_response.create(**asked)
        sent.status, sent.echoed_id = raw.status_code, raw.headers.get("x-request-id")
        answer = raw.parse()
        sent.first_us = now_us()
        sent.told_tokens = answer.usage.completion_tokens if answer.usage else None
        sent.outcome = Outcome.ANSWERED
