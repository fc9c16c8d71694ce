"""Bring together the spans of one request that each tell of a part of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from serving.emit.engine_facts import condense
from serving.emit.join import EngineRecord
from serving.otlp.span import Span
from serving.otlp.told import Told

__all__ = ["whole_of"]


def whole_of(parts: Sequence[tuple[Span, Told]]) -> tuple[Span, Told]:
    """Return a request's span and what it tells, from the spans of its sequences.

    Tokens are added up, a prompt's once; the request waits for the slowest sequence and its first
    token is the first of any. A span that came twice counts once.
    """
    by_id = {span.span_id: (span, told) for span, told in parts}
    (span, told), *others = by_id.values()
    if not others:
        return span, told
    every = [one for _, one in by_id.values()]
    facts = condense(
        [
            EngineRecord(
                request_id=one.part or one.identity,
                at=0,
                queue_s=one.queue_s,
                prefill_s=one.prefill_s,
                decode_s=one.decode_s,
                input_tokens=one.input_tokens,
                output_tokens=one.output_tokens,
            )
            for one in every
        ]
    )
    whole = replace(
        told,
        input_tokens=facts.input_tokens,
        output_tokens=facts.output_tokens,
        choices=len(every),
        queue_s=facts.queue_s,
        prefill_s=facts.prefill_s,
        decode_s=facts.decode_s,
        ttft_s=min((one.ttft_s for one in every if one.ttft_s is not None), default=None),
        e2e_s=max((one.e2e_s for one in every if one.e2e_s is not None), default=None),
    )
    return replace(span, end_ns=max(one.end_ns for one, _ in by_id.values())), whole
