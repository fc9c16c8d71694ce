"""The work that every contender does: requests of a real trace's shape, the same for a seed.

Arrivals and token counts are those of a production service (Azure's LLM inference trace, in the
repository), repeated as often as needed and compressed to the pace of a fleet; the rest is drawn
from a seeded generator.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from schemas.base import SCHEMA_VERSION
from schemas.event import RequestEvent
from schemas.pricing import PriceBook, load_price_book
from tocsin.replay.traces import read_trace

__all__ = ["BATCH_EVENTS", "TRACE", "Totals", "Workload", "base_time", "batches", "totals_of"]

TRACE: Final = Path(__file__).parents[2] / "tocsin" / "demo" / "data" / "azure_code_slice.csv"
BATCH_EVENTS: Final = 500

_DAY_US: Final = 86_400_000_000
_WINDOW_US: Final = 10_000_000
_MODELS: Final = (
    ("together", "llama-3.1-70b"),
    ("openai", "gpt-4o-mini"),
    ("mistral", "mistral-large"),
)
_FEATURES: Final = ("chat", "search", "summarize", "code")
_PLANS: Final = ("free", "pro", "enterprise")
_USERS: Final = 2_000
_SERVERS: Final = 8


@dataclass(frozen=True, slots=True)
class Workload:
    """Some requests of a fleet.

    Args:
        events: how many.
        start_us: event time of the first one's end, UTC microseconds.
        rate: events a second of event time, on average.
        seed: the same seed gives the same bytes.
    """

    events: int
    start_us: int
    rate: float = 20_000
    seed: int = 1

    def __iter__(self) -> Iterator[RequestEvent]:
        """Yield the requests in the order of their ends."""
        arrivals = read_trace(TRACE)
        lap_s = arrivals[-1].offset_s + arrivals[-1].offset_s / len(arrivals)
        compressed = len(arrivals) / lap_s / self.rate
        rng = random.Random(self.seed)
        for number, arrival in zip(range(self.events), cycle(arrivals), strict=False):
            offset_s = (number // len(arrivals)) * lap_s + arrival.offset_s
            end_us = self.start_us + round(offset_s * compressed * 1e6)
            yield _event(rng, end_us, arrival.input_tokens, arrival.output_tokens)


@dataclass(slots=True)
class Totals:
    """Sums over requests, by which a contender shows that it did the work."""

    requests: int = 0
    errors: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_nano_usd: int = 0
    _prices: PriceBook = field(default_factory=load_price_book, repr=False, compare=False)

    def add(self, event: RequestEvent) -> None:
        """Count a request, its cost by the price itself."""
        self.requests += 1
        self.errors += event.failed
        self.input_tokens += event.input_tokens or 0
        self.output_tokens += event.output_tokens or 0
        price = None if event.rejected else self._prices.find(event.provider, event.model)
        if price is not None:
            cost = price.cost(event.input_tokens, event.cached_input_tokens, event.output_tokens)
            self.cost_nano_usd += int((cost or 0) * 1_000_000_000)

    def as_dict(self) -> dict[str, int]:
        """Return the sums by name."""
        names = ("requests", "errors", "input_tokens", "output_tokens", "cost_nano_usd")
        return {name: getattr(self, name) for name in names}


def totals_of(events: Iterable[RequestEvent]) -> Totals:
    """Return the sums over events."""
    totals = Totals()
    for event in events:
        totals.add(event)
    return totals


def batches(events: Iterable[RequestEvent]) -> Iterator[tuple[RequestEvent, ...]]:
    """Yield events as the emitter groups them at full load: 500 to a record."""
    source = iter(events)
    while batch := tuple(islice(source, BATCH_EVENTS)):
        yield batch


def base_time(now_us: int, events: int, rate: float = 20_000) -> int:
    """Return a start for a workload that ends a minute ago or more, within one day of UTC.

    Windows begin with it, and no insert is split by the day.
    """
    span_us = round(events / rate * 1e6) + _WINDOW_US
    start_us = now_us - span_us - 60_000_000
    if start_us // _DAY_US != (start_us + span_us) // _DAY_US and span_us < _DAY_US:
        start_us = (start_us + span_us) // _DAY_US * _DAY_US - span_us - _WINDOW_US
    return start_us // _WINDOW_US * _WINDOW_US


def _event(rng: random.Random, end_us: int, read: int, written: int) -> RequestEvent:
    provider, model = _MODELS[int(len(_MODELS) * rng.random() ** 1.5)]
    canary = rng.random() < 0.2
    fate = rng.random()
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "event_id": _uuid7(rng, end_us),
        "request_id": f"req-{rng.getrandbits(64):016x}",
        "end_time_us": end_us,
        "server": f"gpu-{rng.randrange(_SERVERS)}.llm.internal:8000",
        "provider": provider,
        "model": model,
        "model_version": "2026-09" if canary else "2026-06",
        "operation": "chat",
        "stream": True,
        "route": "canary" if canary else "stable",
        "feature": rng.choice(_FEATURES),
        "user_id": f"user-{int(_USERS * rng.random() ** 2):05d}",
        "plan": rng.choice(_PLANS),
        "input_tokens": read,
    }
    ttft_s = round((0.08 + read * 4e-5) * rng.lognormvariate(0, 0.35), 6)
    tpot_s = round(0.018 * rng.lognormvariate(0, 0.25), 6)
    if fate < 0.01:  # one percent fail
        e2e_s = ttft_s
        values |= {"status_code": 500, "error_type": "engine_dead", "output_tokens": 0}
    elif fate < 0.015:  # some ask too much
        e2e_s = 0.002
        values |= {"status_code": 429, "error_type": "rate_limited", "output_tokens": 0}
    else:
        e2e_s = round(ttft_s + tpot_s * (written - 1), 6)
        values |= {
            "status_code": 200,
            "finish_reasons": ("stop" if rng.random() < 0.95 else "length",),
            "output_tokens": written,
            "ttft_s": ttft_s,
            "itl_mean_s": tpot_s,
            "itl_max_s": round(tpot_s * 2.5, 6),
            "tpot_s": tpot_s if written > 1 else None,
            "queue_s": round(ttft_s * 0.1, 6),
        }
    start_us = end_us - round(e2e_s * 1e6)
    return RequestEvent(**values, start_time_us=start_us, e2e_s=e2e_s)


def _uuid7(rng: random.Random, at_us: int) -> UUID:
    """Return a UUIDv7 (RFC 9562) drawn from the generator."""
    value = (at_us // 1_000) << 80 | 0x7 << 76 | rng.getrandbits(12) << 64
    return UUID(int=value | 0b10 << 62 | rng.getrandbits(62))
