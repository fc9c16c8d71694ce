"""A chart as SVG: widths in percent, so that it fits anywhere and its texts keep their size."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeVar

from tocsin.api.markup import Node, el
from tocsin.api.rollout.span import Span, clock

__all__ = ["Run", "area", "chart", "level", "line", "split", "zone"]

_TOP: Final = 10
_BOTTOM: Final = 20
_WIDE: Final = 1_000
"""The inner picture's coordinates: it is stretched, its strokes are not."""
_TICKS_S: Final = (
    *(1, 2, 5, 10, 15, 30),
    *(60 * minutes for minutes in (1, 2, 5, 10, 15, 30)),
    *(3_600 * hours for hours in (1, 2, 4, 6, 12, 24, 48, 168)),
)

Run = list[tuple[float, float]]
T = TypeVar("T")


def chart(
    height: int,
    y_ticks: Sequence[tuple[float, str]],
    span: Span,
    layers: Sequence[Node],
    label: str,
    said: Sequence[tuple[float, int, str]],
) -> Node:
    """Return axis and picture side by side.

    Args:
        height: pixels.
        y_ticks: heights, from 0 at the bottom to 1, and their labels.
        span: the time that it shows.
        layers: what is drawn, the lowest first; 1000 wide and 100 high, from the top left.
        label: what the picture shows, in words.
        said: for each moment its place from 0 to 1, its time, and what it shows in words.
    """
    inner = height - _TOP - _BOTTOM

    def down(value: float) -> str:
        return f"{_TOP + (1 - value) * inner:.1f}"

    axis = el(
        "svg",
        [
            el("text", text, x=42, y=down(value), dy="0.35em", text_anchor="end")
            for value, text in _apart(y_ticks, 13 / inner)
        ],
        class_="axis",
        width=46,
        height=height,
        aria_hidden="true",
    )
    dark = span.place(span.known_us)
    unknown = None
    if dark < 0.995:
        x, width = f"{dark * _WIDE:.1f}", f"{(1 - dark) * _WIDE:.1f}"
        unknown = el(
            "rect",
            el("title", "not known yet"),
            class_="unknown",
            x=x,
            y=0,
            width=width,
            height=100,
        )
    picture = el(
        "svg",
        [level(value, "grid") for value, _ in y_ticks],
        unknown,
        list(layers),
        y=_TOP,
        width="100%",
        height=inner,
        viewBox=f"0 0 {_WIDE} 100",
        preserveAspectRatio="none",
    )
    data = json.dumps(
        [[round(place, 4), clock(at_us), text] for place, at_us, text in said],
        separators=(",", ":"),
    )
    plot = el(
        "svg",
        picture,
        [
            el("text", text, x=f"{place:.2%}", y=height - 5, text_anchor=anchor, class_="when")
            for place, text, anchor in _times(span)
        ],
        class_="plot",
        width="100%",
        height=height,
        role="img",
        aria_label=label,
        data_points=data,
    )
    return el("div", axis, plot, class_="chart")


def _apart(ticks: Sequence[tuple[float, str]], least: float) -> list[tuple[float, str]]:
    """Return the ticks whose labels do not touch; of two that do, the later one stays."""
    kept: list[tuple[float, str]] = []
    for value, text in sorted(ticks, key=lambda tick: -tick[0]):
        if not kept or kept[-1][0] - value >= least:
            kept.append((value, text))
    return kept


def _times(span: Span) -> list[tuple[float, str, str]]:
    seconds = (span.until_us - span.from_us) / 1e6
    step = next((s for s in _TICKS_S if seconds / s <= 4), _TICKS_S[-1])
    name: Callable[[int], str] = clock if step < 60 else lambda at: clock(at)[:5]
    if step >= 86_400:
        name = lambda at: clock(at, day=True)[5:10]
    elif seconds > 86_400:
        name = lambda at: clock(at, day=True)[5:16]
    first = -(-span.from_us // (step * 1_000_000)) * step * 1_000_000
    found = []
    for at_us in range(first, span.until_us + 1, step * 1_000_000):
        place = span.place(at_us)
        anchor = "start" if place < 0.06 else "end" if place > 0.94 else "middle"
        found.append((place, name(at_us), anchor))
    return found


def split(points: Iterable[T | None]) -> list[list[T]]:
    """Return what lies between the unknown values: a gap is not zero."""
    runs: list[list[T]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return [run for run in runs if run]


def line(runs: Sequence[Run], kind: str) -> Node:
    """Return a line with gaps between its runs."""
    # A run of one point is a dot: round ends make a line without length one.
    drawn = ("M" + "L".join(map(_at, run)) + ("h0" if len(run) == 1 else "") for run in runs)
    return el("path", class_=kind, d="".join(drawn))


def area(points: Run, kind: str) -> Node:
    """Return what a line encloses."""
    return el("path", class_=kind, d=f"M{'L'.join(map(_at, points))}Z")


def zone(low: float, high: float, kind: str) -> Node:
    """Return the band between two heights, from 0 at the bottom to 1."""
    height = max(0.0, high - low) * 100
    return el("rect", class_=kind, x=0, y=f"{(1 - high) * 100:.2f}", width=_WIDE, height=height)


def level(value: float, kind: str) -> Node:
    """Return a line across at a height."""
    y = f"{(1 - value) * 100:.2f}"
    return el("line", class_=kind, x1=0, x2=_WIDE, y1=y, y2=y)


def _at(point: tuple[float, float]) -> str:
    return f"{point[0] * _WIDE:.1f} {(1 - point[1]) * 100:.2f}"
