"""Who may count a source: announcements in the log, behind which earlier owners count no more."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import MutableMapping
from typing import Final

__all__ = ["Fences"]

_KEPT: Final = 64


class Fences:
    """Tell whether a batch was sent by an owner that another one had followed by then.

    An owner of a source announces itself in the log, and names its announcement's offset, its
    fence, with each batch. A batch counts unless another announcement stands between its fence and
    itself: then its sender was stalled and had lost the source without knowing, and its successor
    counts anew what it had not got through. That depends on nothing but the log, so that a replay
    decides the same.

    Args:
        announced: by source the offsets of announcements, as text, ascending; kept by the caller
            over restarts, which begin to read behind old announcements.

    Examples:
        >>> fences = Fences({})
        >>> fences.announce("requests-0", 10)
        >>> fences.bar("requests-0", fence=10, offset=11)
        False
        >>> fences.announce("requests-0", 20)
        >>> fences.bar("requests-0", fence=10, offset=21)
        True
        >>> fences.bar("requests-0", fence=10, offset=11)  # read again
        False

    """

    def __init__(self, announced: MutableMapping[str, str]) -> None:
        self._announced = announced

    def announce(self, source: str, offset: int) -> None:
        """Note an announcement."""
        offsets = self._offsets(source)
        if offset not in offsets:
            insort(offsets, offset)
            self._announced[source] = " ".join(map(str, offsets[-_KEPT:]))

    def bar(self, source: str, fence: int, offset: int) -> bool:
        """Tell whether the batch at an offset does not count."""
        offsets = self._offsets(source)
        before = bisect_left(offsets, offset)
        return before > 0 and offsets[before - 1] > fence

    def _offsets(self, source: str) -> list[int]:
        return [int(offset) for offset in (self._announced.get(source) or "").split()]
