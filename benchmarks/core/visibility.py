"""From what queries saw, and when, to how long each event took to be seen."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence

from benchmarks.core.errors import InexactError

__all__ = ["Seen", "row_latencies", "window_latencies"]

Seen = Sequence[tuple[int, int]]
"""(wall clock in microseconds when an answer was there, the count it gave), both ascending."""


def row_latencies(ends_us: Sequence[int], seen: Seen) -> list[float]:
    """Return for each row the seconds from its event's end to the first answer that counted it.

    The row may have been visible earlier, by the time between two queries at most.

    Args:
        ends_us: event times in the order in which the rows came into the store.
        seen: answers of ``SELECT count()``.

    Raises:
        InexactError: the last answer counts fewer rows.

    Examples:
        >>> row_latencies([0, 500_000], [(1_000_000, 1), (2_000_000, 2)])
        [1.0, 1.5]

    """
    counts = [count for _, count in seen]
    if not counts or counts[-1] < len(ends_us):
        raise InexactError(f"{len(ends_us)} rows, of which queries saw {counts[-1:] or 0}")
    return [
        (seen[bisect_left(counts, place)][0] - end_us) / 1e6
        for place, end_us in enumerate(ends_us, 1)
    ]


def window_latencies(
    ends_us: Sequence[int], size_us: int, seen: Mapping[int, Seen], until_us: int
) -> list[float]:
    """Return for each event the seconds from its end to the first whole answer of its window.

    Whole is an answer that counts every request of the window, so that one which closed too early
    counts as visible only once it is corrected.

    Args:
        ends_us: event times.
        size_us: length of a window.
        seen: by window start the answers of ``SELECT sum(requests)``.
        until_us: windows that end later are left out.

    Raises:
        InexactError: a window never was whole.

    Examples:
        >>> window_latencies([1, 9, 11], 10, {0: [(15, 1), (30, 2)]}, 19)
        [2.9e-05, 2.1e-05]

    """
    sizes = Counter(end_us // size_us * size_us for end_us in ends_us)
    whole_us: dict[int, int] = {}
    for start_us, requests in sizes.items():
        if start_us + size_us > until_us:
            continue
        times = [at_us for at_us, count in seen.get(start_us, ()) if count >= requests]
        if not times:
            raise InexactError(
                f"window {start_us} was never seen with all of its {requests} events"
            )
        whole_us[start_us] = times[0]
    return [
        (whole_us[start_us] - end_us) / 1e6
        for end_us in ends_us
        if (start_us := end_us // size_us * size_us) in whole_us
    ]
