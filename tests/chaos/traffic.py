"""Requests as a fleet has them: models, versions, features, errors, tokens that nobody told."""

from __future__ import annotations

from decimal import Decimal
from itertools import product
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.pricing import load_price_book
from tests.chaos.ledger import EVENT, NO_PRICE, NO_TOKENS, UNKNOWN, Outcome, Series

__all__ = ["SERIES", "USERS", "Traffic", "values"]

_MODELS: Final = (
    ("openai", "gpt-4o"),
    ("openai", "gpt-4o-mini"),
    ("together", "llama-3.1-70b"),
    ("mistral", "mistral-large"),
    ("vllm", "a-model-without-a-price"),
)
_VERSIONS: Final = (("v1", "stable"), ("v2", "canary"))
_FEATURES: Final = ("chat", "search", "")

SERIES: Final[tuple[Series, ...]] = tuple(
    (provider, model, version, route, feature)
    for (provider, model), (version, route), feature in product(_MODELS, _VERSIONS, _FEATURES)
)
USERS: Final = ("", *(f"user-{number}" for number in range(49)))

_ID_PARTS: Final = ((0, 8), (8, 12), (12, 16), (16, 20), (20, 32))

_OUTCOMES: Final[dict[int, float]] = {
    Outcome.GOOD: 0.92,
    Outcome.FAILED: 0.02,
    Outcome.BROKEN: 0.01,
    Outcome.REJECTED: 0.03,
    Outcome.ABORTED: 0.02,
}
_STATUS: Final[dict[int, dict[str, Any]]] = {
    Outcome.GOOD: {"status_code": 200, "finish_reasons": ["stop"]},
    Outcome.FAILED: {"status_code": 500, "error_type": "internal"},
    Outcome.BROKEN: {"status_code": 200, "error_type": "engine_dead"},
    Outcome.REJECTED: {"status_code": 400, "error_type": "bad_request"},
    Outcome.ABORTED: {"status_code": 200, "error_type": "client_gone", "aborted": True},
}


class Traffic:
    """Makes events, the same for the same seed but for their times.

    Args:
        seed: of all choices.
        first: number of the first event; it ends the event's id.
        reordered: share of the events that come up to ``late_us`` later than their end says.
    """

    def __init__(
        self, seed: int, first: int = 0, reordered: float = 0.03, late_us: int = 1_000_000
    ) -> None:
        self._random = np.random.default_rng((seed, first))
        self._next = first
        self._reordered = reordered
        self._late_us = late_us
        weights = self._random.dirichlet(np.full(len(SERIES), 2.0))
        self._weights = weights / weights.sum()
        self._prices = _nano_prices()

    def make(self, count: int, since_us: int, now_us: int) -> NDArray[np.void]:
        """Return events that ended between two times, dtype EVENT, shape (count,)."""
        random = self._random
        events = np.zeros(count, EVENT)
        end = np.sort(random.integers(since_us, max(since_us, now_us) + 1, count))
        late = random.random(count) < self._reordered
        events["end_us"] = end - np.where(late, random.integers(0, self._late_us + 1, count), 0)
        # UUIDv7 (RFC 9562): 48 bits of milliseconds, then random but for version and variant.
        noise = random.integers(0, 1 << 12, count).astype(np.uint64)
        milliseconds = (events["end_us"] // 1_000).astype(np.uint64)
        events["high"] = (milliseconds << np.uint64(16)) | np.uint64(0x7000) | noise
        numbers = np.arange(self._next, self._next + count, dtype=np.uint64)
        noise = random.integers(0, 1 << 30, count).astype(np.uint64)
        events["low"] = np.uint64(1 << 63) | (noise << np.uint64(32)) | numbers
        self._next += count
        events["e2e_s"] = random.lognormal(0, 0.5, count).round(6)
        events["series"] = random.choice(len(SERIES), count, p=self._weights)
        events["user"] = random.integers(0, len(USERS), count)
        kinds = list(_OUTCOMES)
        events["outcome"] = random.choice(kinds, count, p=list(_OUTCOMES.values()))
        self._add_tokens(events)
        events["partition"] = events["offset"] = -1
        return events

    def _add_tokens(self, events: NDArray[np.void]) -> None:
        random, count = self._random, len(events)
        read = random.integers(1, 4_000, count)
        cached = np.where(random.random(count) < 0.2, random.integers(0, read + 1), UNKNOWN)
        written = random.integers(0, 1_000, count)
        unread, unwritten = random.random(count) < 0.02, random.random(count) < 0.02
        rejected = events["outcome"] == Outcome.REJECTED
        events["input"] = np.where(unread, UNKNOWN, read)
        events["cached"] = np.where(unread, UNKNOWN, cached)
        events["output"] = np.where(unwritten | rejected, UNKNOWN, written)
        prices = self._prices[events["series"]]
        in_cache = np.maximum(events["cached"], 0)
        cost = (
            prices[:, 0] * (events["input"] - in_cache)
            + np.maximum(prices[:, 1], 0) * in_cache
            + prices[:, 2] * events["output"]
        )
        no_tokens = (events["input"] < 0) | (events["output"] < 0)
        cost = np.where((in_cache > 0) & (prices[:, 1] < 0), NO_PRICE, cost)
        cost = np.where(no_tokens, NO_TOKENS, cost)
        cost = np.where(prices[:, 0] < 0, NO_PRICE, cost)
        events["cost"] = np.where(rejected, 0, cost)


def values(events: NDArray[np.void]) -> list[bytes]:
    """Return events as the wire has them: JSON objects without what is unknown."""
    found = []
    for event in events.tolist():
        high, low, end_us, e2e_s, series, user, outcome, read, cached, written, *_ = event
        provider, model, version, route, feature = SERIES[series]
        digits = f"{(high << 64) | low:032x}"
        document = {
            "schema_version": 1,
            "event_id": "-".join(digits[a:b] for a, b in _ID_PARTS),
            "request_id": f"request-{low & 0xFFFF_FFFF}",
            "start_time_us": end_us - round(e2e_s * 1e6),
            "end_time_us": end_us,
            "server": "gpu-1:8000",
            "provider": provider,
            "model": model,
            "model_version": version,
            "operation": "chat",
            "stream": True,
            "route": route,
            "e2e_s": e2e_s,
            **_STATUS[outcome],
        }
        if feature:
            document["feature"] = feature
        if USERS[user]:
            document["user_id"] = USERS[user]
        if read >= 0:
            document["input_tokens"] = read
        if cached >= 0:
            document["cached_input_tokens"] = cached
        if written >= 0:
            document["output_tokens"] = written
        if outcome == Outcome.GOOD:
            document["ttft_s"] = e2e_s / 4
        found.append(orjson.dumps(document))
    return found


def _nano_prices() -> NDArray[np.int64]:
    """Return nano-dollars a token by series: input, cached input, output; -1 for no price."""
    book = load_price_book()
    rows = []
    for provider, model, *_ in SERIES:
        price = book.find(provider, model)
        if price is None:
            rows.append((-1, -1, -1))
            continue
        rows.append((_nano(price.input), _nano(price.cached_input), _nano(price.output)))
    return np.array(rows, np.int64)


def _nano(per_million: Decimal | None) -> int:
    if per_million is None:
        return -1
    nano = per_million * 1_000
    if nano != int(nano):
        raise ValueError(f"{per_million} USD per million tokens is no whole nano-dollar a token")
    return int(nano)
