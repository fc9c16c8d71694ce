"""Condense the engine's records of one request, which has one for each sequence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from serving.emit.join import EngineRecord

__all__ = ["EngineFacts", "condense"]


@dataclass(frozen=True, slots=True)
class EngineFacts:
    """What the engine knows of a request; durations in seconds, None is unknown."""

    finish_reasons: tuple[str, ...] = ()
    queue_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None
    tpot_s: float | None = None
    preemptions: int | None = None
    input_tokens: int | None = None
    cached_input_tokens: int | None = None
    output_tokens: int | None = None


def condense(records: Sequence[EngineRecord]) -> EngineFacts:
    """Return the facts of a request from the records of its sequences.

    The request waits for its slowest sequence, so durations are the longest; counts are sums. The
    choices of one prompt share its tokens, and only the first of them can miss the cache: per
    prompt the tokens count once and the cached ones at their smallest.
    """
    if not records:
        return EngineFacts()
    prompts: dict[str, list[EngineRecord]] = {}
    for record in records:
        prompts.setdefault(record.request_id, []).append(record)
    return EngineFacts(
        finish_reasons=tuple(r.finish_reason for r in records if r.finish_reason),
        queue_s=_longest(r.queue_s for r in records),
        prefill_s=_longest(r.prefill_s for r in records),
        decode_s=_longest(r.decode_s for r in records),
        tpot_s=_longest(r.tpot_s for r in records),
        preemptions=_sum(r.preemptions for r in records),
        input_tokens=_sum(_least(r.input_tokens for r in group) for group in prompts.values()),
        cached_input_tokens=_sum(
            _least(r.cached_input_tokens for r in group) for group in prompts.values()
        ),
        output_tokens=_sum(r.output_tokens for r in records),
    )


def _longest(values: Iterable[float | None]) -> float | None:
    return max((value for value in values if value is not None), default=None)


def _least(values: Iterable[int | None]) -> int | None:
    known = list(values)
    return None if None in known else min(value for value in known if value is not None)


def _sum(values: Iterable[int | None]) -> int | None:
    """Return the sum, or None when a part of it is unknown."""
    known = list(values)
    return None if None in known else sum(value for value in known if value is not None)
