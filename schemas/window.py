"""Windows of one series: partial with their sketches, and closed."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from schemas.base import Labels, Message, Micros, Name, SchemaVersion

__all__ = ["SketchState", "WindowBatch", "WindowPartial"]

Count = Annotated[int, Field(ge=0)]
Sum = Annotated[float, Field(ge=0)]


class SketchState(Message):
    """A DDSketch (Masson, Rim, Lee, VLDB 2019): bucket ``key`` covers (g^(key-1), g^key].

    ``alpha`` is the relative error, g = (1 + alpha) / (1 - alpha); ``keys`` ascend and match
    ``counts``; ``zeros`` counts samples below the smallest representable value.
    """

    alpha: Annotated[float, Field(gt=0, lt=1)]
    keys: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()
    zeros: Count = 0


class WindowPartial(Message):
    """What one partition of ``llm.requests`` added to one window of one series.

    Only additive figures and mergeable sketches, so that any number of partials make a window.
    ``cost_nano_usd`` is exact: 1e-9 USD, over the requests whose cost is known; ``cost_unknown``
    counts the others, ``price_unknown`` those of them that have no price.
    """

    window_start_us: Micros
    window_end_us: Micros
    labels: Labels
    requests: Count = 0
    errors: Count = 0
    rejected: Count = 0
    aborted: Count = 0
    input_tokens: Count = 0
    cached_input_tokens: Count = 0
    output_tokens: Count = 0
    tokens_unknown: Count = 0
    cost_nano_usd: Count = 0
    cost_unknown: Count = 0
    price_unknown: Count = 0
    sketches: dict[str, SketchState] = Field(default_factory=dict)


class WindowBatch(Message):
    """What one flush of one source partition tells the second stage; the value of ``llm.windows``.

    ``watermark_us`` is that partition's watermark: no more partials of windows that end at or
    before it will come, save corrections. ``sequence`` ascends for each (source, epoch), so that a
    repeated message is seen; ``epoch`` is new with each owner of the partition. ``fence`` is the
    offset at which that owner announced itself: by a message that has no fence, and no partials.
    ``up_to_offset``: every event of the source up to this offset is in this batch or in an earlier
    one; absent on all but the last of several messages that one flush was cut into.
    ``idle``: the source is read to its end and has been silent for a while, so that windows need
    not wait for it until it speaks again.
    """

    schema_version: SchemaVersion
    source: Name
    epoch: Name
    sequence: Count
    fence: Count | None = None
    watermark_us: Micros
    up_to_offset: Count | None = None
    idle: bool = False
    partials: tuple[WindowPartial, ...] = ()
