"""A DDSketch in few bytes, for the store; packed one by one, unpacked by the million, too.

Version 1, little-endian: a head of 20 bytes (version, width of a gap, width of a count, a zero,
alpha in 1e-5, the first key, entries, values counted as zero), then each entry's distance from the
key before, then each entry's count. Gaps take 1 or 2 bytes. Counts take 1, 2, 4 or 8, or none where
each entry stands for one value: few values are shorter with a key said again than with counts.
An empty sketch is no bytes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from detectors.buckets import Buckets
from detectors.errors import SketchError
from detectors.sketch import DEFAULT_ALPHA, DDSketch

__all__ = ["PackedSketches", "pack", "unpack", "unpack_all"]

_VERSION: Final = 1
_ALPHA_UNIT: Final = 1e-5
_HEAD: Final = np.dtype(
    [
        ("version", "u1"),
        ("gap_width", "u1"),
        ("count_width", "u1"),
        ("zero", "u1"),
        ("alpha", "<u2"),
        ("first", "<i2"),
        ("entries", "<u4"),
        ("zeros", "<u8"),
    ]
)
_WIDTHS: Final = (1, 2, 4, 8)


def pack(sketch: DDSketch) -> bytes:
    """Return a sketch as bytes.

    Raises:
        SketchError: its alpha is no multiple of 1e-5.

    """
    keys, counts = sketch.buckets()
    if not sketch.count:
        return b""
    alpha = round(sketch.alpha / _ALPHA_UNIT)
    if alpha * _ALPHA_UNIT != sketch.alpha and abs(alpha * _ALPHA_UNIT - sketch.alpha) > 1e-12:
        raise SketchError(f"alpha {sketch.alpha} cannot be packed: it is no multiple of 1e-5")
    most = int(counts.max(initial=0))
    count_width = next(width for width in _WIDTHS if most < 256**width)
    if int(counts.sum()) <= keys.size * (1 + count_width):
        keys, counts, count_width = np.repeat(keys, counts), counts[:0], 0
    gaps = np.diff(keys, prepend=keys[:1])
    gap_width = 1 if gaps.max(initial=0) < 256 else 2
    head = np.array(
        (
            _VERSION, gap_width, count_width, 0, alpha, keys[0] if keys.size else 0, keys.size,
            sketch.zeros,
        ),
        _HEAD,
    )  # fmt: skip
    counted = counts.astype(f"<u{count_width}").tobytes() if count_width else b""
    return head.tobytes() + gaps.astype(f"<u{gap_width}").tobytes() + counted


def unpack(data: bytes) -> DDSketch:
    """Return the sketch that ``pack`` was given; of no bytes an empty one.

    Raises:
        SketchError: these bytes are of another version, or damaged.

    """
    return unpack_all([data])[0]


def unpack_all(packed: Sequence[bytes]) -> list[DDSketch]:
    """Return what ``unpack`` says of each, many times as fast.

    Raises:
        SketchError: some are of another version or of another alpha than others, or damaged.

    """
    offsets = np.cumsum([0, *map(len, packed)])
    many = PackedSketches(np.frombuffer(b"".join(packed), np.uint8), offsets)
    low, high = many.bounds()
    width = high - low + 1
    places, counts = many.entries(np.arange(len(packed)) * width - low)
    if np.any(counts < 1):
        raise SketchError("a packed sketch's counts are positive")
    order = np.argsort(places, kind="stable")
    places, counts = places[order], counts[order]
    firsts = np.flatnonzero(np.diff(places, prepend=-1))
    places, counts = places[firsts], np.add.reduceat(counts, firsts) if firsts.size else counts
    keys = places % width + low
    ends = np.searchsorted(places, np.arange(len(packed) + 1) * width).tolist()
    zeros = many.zeros.tolist()
    return [
        DDSketch.of_buckets(keys[first:last], counts[first:last], zeros[row], many.alpha)
        for row, (first, last) in enumerate(pairwise(ends))
    ]


@dataclass(frozen=True, slots=True)
class _Kind:
    """The sketches whose gaps and counts are as wide: which they are, and their entries' keys.

    ``sums`` runs through all of their gaps; ``before`` is what to take off for each sketch.
    """

    found: NDArray[np.bool_]
    count_width: int
    lengths: NDArray[np.int64]
    ends: NDArray[np.int64]
    sums: NDArray[np.int64]
    before: NDArray[np.int64]
    firsts: NDArray[np.int64]


class PackedSketches:
    """Many packed sketches, one behind the other; their entries come out as numpy columns.

    Args:
        data: uint8, all bytes.
        offsets: int64, shape (n + 1,): sketch ``i`` lies in ``data[offsets[i]:offsets[i + 1]]``;
            bytes before the first and behind the last are left alone.

    Attributes:
        zeros: how many values of each sketch are counted as zero; int64, shape (n,).
        counts: how many values each sketch holds; int64, shape (n,).
        alpha: the relative error of all of them.

    Raises:
        SketchError: some are of another version, of several alphas, or damaged.

    """

    def __init__(self, data: NDArray[np.uint8], offsets: NDArray[np.int64]) -> None:
        if offsets.size and (int(offsets[0]), int(offsets[-1])) != (0, data.size):
            data, offsets = data[offsets[0] : offsets[-1]], offsets - offsets[0]
        self._data = data
        sizes = np.diff(offsets)
        self._rows = np.flatnonzero(sizes)
        starts, sizes = offsets[:-1][self._rows], sizes[self._rows]
        if sizes.size and int(sizes.min()) < _HEAD.itemsize:
            raise SketchError("a packed sketch is shorter than its head")
        head = np.empty(0, _HEAD)
        if starts.size:
            head = sliding_window_view(data, _HEAD.itemsize)[starts].view(_HEAD).reshape(-1)
        if np.any(head["version"] != _VERSION):
            raise SketchError(f"a packed sketch of a version other than {_VERSION}")
        if np.any((head["gap_width"] < 1) | (head["gap_width"] > 2)):
            raise SketchError("a packed sketch's gaps take 1 or 2 bytes")
        if not np.isin(head["count_width"], (0, *_WIDTHS)).all():
            raise SketchError("a packed sketch's counts take 0, 1, 2, 4 or 8 bytes")
        self._lengths = head["entries"].astype(np.int64)
        self._gap_bytes = self._lengths * head["gap_width"]
        self._count_bytes = self._lengths * head["count_width"]
        if np.any(_HEAD.itemsize + self._gap_bytes + self._count_bytes != sizes):
            raise SketchError("a packed sketch is not as long as it says")
        if np.any(head["alpha"] != head["alpha"][:1]):
            raise SketchError("packed sketches of several alphas")
        alpha = head["alpha"][:1].tolist()
        self.alpha = alpha[0] / round(1 / _ALPHA_UNIT) if alpha else DEFAULT_ALPHA
        self._head = head
        self.zeros = np.zeros(offsets.size - 1, np.int64)
        self.zeros[self._rows] = head["zeros"]
        self.counts = self.zeros.copy()
        self._kinds: list[_Kind] = []
        self._count()

    def entries(self, bases: NDArray[np.int64]) -> Buckets:
        """Return the entries of all sketches: base of the sketch + key, and its count.

        Within a sketch keys ascend, and may be said again; sketches come in no order that can be
        relied on.

        Args:
            bases: what is added to the keys of each sketch; int64, shape (n,).

        """
        none = np.empty(0, np.int64)
        parts: list[Buckets] = [(none, none)]
        for kind in self._kinds:
            places = self._places(kind, bases)
            counts = self._counts(kind)
            parts.append((places, np.ones_like(places) if counts is None else counts))
        return (
            np.concatenate([places for places, _ in parts]),
            np.concatenate([counts for _, counts in parts]),
        )

    def histogram(self, bases: NDArray[np.int64], size: int) -> NDArray[np.int64]:
        """Return how many values fall on each place (base + key) from 0 to size - 1."""
        total: NDArray[np.int64] | None = None
        for kind in self._kinds:
            counts = self._counts(kind)
            found = np.bincount(self._places(kind, bases), counts, size)
            exact = found.astype(np.int64, copy=False)
            total = exact if total is None else total + exact
        return np.zeros(size, np.int64) if total is None else total

    def bounds(self) -> tuple[int, int]:
        """Return the least and the greatest key of all sketches; (0, 0) without any."""
        lows = [int(kind.firsts.min()) for kind in self._kinds]
        highs = [int((kind.firsts + kind.sums[kind.ends - 1] - kind.before).max())
                 for kind in self._kinds]  # fmt: skip
        return min(lows, default=0), max(highs, default=0)

    def _count(self) -> None:
        """Tell sketches apart by how wide their figures are, and count their values."""
        widths = self._head["gap_width"] * np.uint8(16) + self._head["count_width"]
        for both in np.unique(widths[self._lengths > 0]).tolist():
            gap_width, count_width = divmod(both, 16)
            found = (widths == both) & (self._lengths > 0)
            lengths = self._lengths[found]
            ends = np.cumsum(lengths)
            gaps = self._bytes(found, counts=False).view(f"<u{gap_width}")
            sums = np.cumsum(gaps, dtype=np.int64)
            # The first gap of a sketch is 0, so the sum at its first entry is that before it.
            firsts = self._head["first"][found].astype(np.int64)
            kind = _Kind(found, count_width, lengths, ends, sums, sums[ends - lengths], firsts)
            self._kinds.append(kind)
            counts = self._counts(kind)
            self.counts[self._rows[found]] += (
                lengths if counts is None else np.add.reduceat(counts, ends - lengths)
            )

    def _places(self, kind: _Kind, bases: NDArray[np.int64]) -> NDArray[np.int64]:
        shifts = bases[self._rows[kind.found]] + kind.firsts - kind.before
        places: NDArray[np.int64] = np.repeat(shifts, kind.lengths)
        places += kind.sums
        return places

    def _counts(self, kind: _Kind) -> NDArray[np.int64] | None:
        """Return the counts of the entries, None where each is 1."""
        if not kind.count_width:
            return None
        counts = self._bytes(kind.found, counts=True).view(f"<u{kind.count_width}")
        result: NDArray[np.int64] = counts.astype(np.int64)
        return result

    def _bytes(self, found: NDArray[np.bool_], *, counts: bool) -> NDArray[np.uint8]:
        """Return the bytes of some sketches' gaps or counts, without what lies between."""
        lengths = np.empty((self._rows.size, 3), np.int64)
        lengths[:, 0] = _HEAD.itemsize
        lengths[:, 1] = self._gap_bytes
        lengths[:, 2] = self._count_bytes
        wanted = np.zeros(lengths.shape, np.bool_)
        wanted[:, 2 if counts else 1] = found
        return self._data[np.repeat(wanted.reshape(-1), lengths.reshape(-1))]
