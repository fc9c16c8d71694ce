"""A span as the deciding functions see it, whichever encoding it came in."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Any

from serving.emit.request import clean_name

__all__ = [
    "Kind",
    "Span",
    "SpanEvent",
    "count_in",
    "name_in",
    "names_in",
    "own_server",
    "seconds_in",
]

_SERVERS = ("k8s.pod.name", "host.name", "service.name", "service.instance.id")
_TOKENS = 1_000_000_000
_DAY_S = 86_400.0


class Kind(IntEnum):
    """`SpanKind` of OTLP."""

    UNSPECIFIED = 0
    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass(frozen=True, slots=True)
class SpanEvent:
    """Something that happened within a span; UTC nanoseconds."""

    name: str
    at_ns: int
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Span:
    """One span with its resource and scope; ids in hexadecimal, empty where there is none."""

    trace_id: str
    span_id: str
    name: str
    start_ns: int
    end_ns: int
    parent_id: str = ""
    trace_state: str = ""
    kind: int = Kind.UNSPECIFIED
    attributes: Mapping[str, Any] = field(default_factory=dict)
    resource: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""
    events: tuple[SpanEvent, ...] = ()
    failed: bool = False
    """Whether its status is an error."""


def name_in(attributes: Mapping[str, Any], *names: str) -> str | None:
    """Return the first of some attributes that is a text, as a name that an event takes."""
    return next((text for name in names if (text := clean_name(attributes.get(name)))), None)


def count_in(attributes: Mapping[str, Any], *names: str) -> int | None:
    """Return the first of some attributes that is a number of tokens."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, float) and value.is_integer():  # JavaScript has no other numbers
            value = int(value)
        if type(value) is int and 0 <= value <= _TOKENS:
            return value
    return None


def seconds_in(attributes: Mapping[str, Any], *names: str) -> float | None:
    """Return the first of some attributes that is a duration in seconds, a day at most."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, int | float) and not isinstance(value, bool):
            seconds = float(value) if abs(value) <= _DAY_S else math.inf
            if 0 <= seconds <= _DAY_S:
                return seconds
    return None


def names_in(attributes: Mapping[str, Any], *names: str) -> tuple[str, ...]:
    """Return the first of some attributes that is a text or a list of texts."""
    for name in names:
        value = attributes.get(name)
        texts = value if isinstance(value, list | tuple) else [value]
        if found := tuple(text for item in texts[:128] if (text := clean_name(item))):
            return found
    return ()


def own_server(span: Span) -> str | None:
    """Return which server a span comes from, of spans that the server itself has made."""
    return name_in(span.resource, *_SERVERS)
