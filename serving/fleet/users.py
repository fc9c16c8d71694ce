"""Who asks, in a replay: features, plans, users and their patience, the same for the same seed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import Final

import orjson

from serving.fleet.text import prose

__all__ = ["FEATURES", "PLANS", "Arrival", "Visit", "Visits"]

FEATURES: Final = ("chat", "search", "summarize", "code")
PLANS: Final = ("free", "pro", "enterprise")
_FEATURE_WEIGHTS: Final = (40, 25, 20, 15)


@dataclass(frozen=True, slots=True)
class Arrival:
    """One request of a trace; seconds since its beginning."""

    offset_s: float
    input_tokens: int
    output_tokens: int


@dataclass(frozen=True, slots=True)
class Visit:
    """One request as it will be sent.

    ``leaves_after`` pieces of the answer the client goes away, ``thumb`` is how hard to please the
    user is (0 to 1) who will rate the answer; None: neither.
    """

    request_id: str
    headers: dict[str, str]
    body: bytes
    stream: bool
    user: str
    leaves_after: int | None
    thumb: float | None


class Visits:
    """Makes the visit of each arrival.

    Args:
        run_id: makes the request ids of this replay unlike those of any other.
        model: what is asked for.
        seed: the same seed gives the same visits.
        users: how many there are; some ask far more often than others, each has one plan.
        stream_share, abort_share, thumb_share: of all requests.
        features, plans: to be drawn from.
    """

    def __init__(
        self,
        run_id: str,
        *,
        model: str,
        seed: int = 1,
        users: int = 200,
        stream_share: float = 0.9,
        abort_share: float = 0.01,
        thumb_share: float = 0.05,
        features: Sequence[str] = FEATURES,
        plans: Sequence[str] = PLANS,
    ) -> None:
        self._run_id = run_id
        self._model = model
        self._seed = seed
        self._users = users
        self._stream_share = stream_share
        self._abort_share = abort_share
        self._thumb_share = thumb_share
        self._features = tuple(features)
        self._plans = tuple(plans)

    def of(self, number: int, arrival: Arrival) -> Visit:
        """Return the visit of the arrival with this number."""
        random = Random(self._seed * 1_000_003 + number)  # noqa: S311
        request_id = f"{self._run_id}-{number:07d}"
        who = int(self._users * random.random() ** 2)
        user = f"user-{who:03d}"
        stream = random.random() < self._stream_share
        aborts = stream and random.random() < self._abort_share
        rates = not aborts and random.random() < self._thumb_share
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": "".join(prose(random, 12)).strip()}],
            "stream": stream,
        }
        headers = {
            "Content-Type": "application/json",
            "X-Request-Id": request_id,
            "X-Tocsin-Feature": self._feature(random),
            "X-Tocsin-User": user,
            "X-Tocsin-Plan": self._plans[Random(who).randrange(len(self._plans))],  # noqa: S311
            "X-Sim-Input-Tokens": str(max(1, arrival.input_tokens)),
            "X-Sim-Output-Tokens": str(max(1, arrival.output_tokens)),
        }
        return Visit(
            request_id=request_id,
            headers=headers,
            body=orjson.dumps(body),
            stream=stream,
            user=user,
            leaves_after=random.randint(1, 3) if aborts else None,
            thumb=random.random() if rates else None,
        )

    def _feature(self, random: Random) -> str:
        if self._features == FEATURES:
            return random.choices(FEATURES, _FEATURE_WEIGHTS)[0]
        return random.choice(self._features)
