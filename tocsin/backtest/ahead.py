"""Let the store look for what comes next while what came is worked on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["ahead"]

T = TypeVar("T")
R = TypeVar("R")


def ahead(work: Callable[[T], R], items: Iterable[T]) -> Iterator[R]:
    """Yield ``work`` of each item, in order, while a thread does the next one.

    Raises:
        what ``work`` raises, at its item.

    Examples:
        >>> list(ahead(lambda x: 2 * x, [1, 2, 3]))
        [2, 4, 6]
    """
    with ThreadPoolExecutor(1, thread_name_prefix="backtest") as reader:
        waiting = None
        for item in items:
            following = reader.submit(work, item)
            if waiting is not None:
                yield waiting.result()
            waiting = following
        if waiting is not None:
            yield waiting.result()
