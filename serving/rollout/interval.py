"""Say between which bounds a share lies, valid at every look at once. Pure.

A confidence sequence: the probability that the bounds ever, at any look, miss the true share is at
most alpha. It holds every share p under which the mixture of likelihoods over a Beta(1/2, 1/2)
prior has not grown to 1/alpha times that of p (Robbins, "Statistical methods related to the law of
the iterated logarithm", Annals of Mathematical Statistics 41, 1970; Howard, Ramdas, McAuliffe and
Sekhon, "Time-uniform, nonparametric, nonasymptotic confidence sequences", Annals of Statistics 49,
2021).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

__all__ = ["share_bounds"]

_A: Final = 0.5
_LOG_BETA: Final = math.lgamma(_A) + math.lgamma(_A) - math.lgamma(2 * _A)
_ROUNDS: Final = 40


def share_bounds(bad: int, count: int, alpha: float = 0.05) -> tuple[float, float] | None:
    """Return the bounds of a share, from 0 to 1; None when nothing was counted.

    Raises:
        ValueError: more were bad than there were, or alpha is no probability.

    >>> low, high = share_bounds(10, 1000)
    >>> round(low, 4), round(high, 4)
    (0.0024, 0.0262)
    """
    if not 0 < alpha < 1:
        raise ValueError("alpha: expected more than 0 and less than 1")
    if not 0 <= bad <= count:
        raise ValueError("more were bad than there were")
    if count == 0:
        return None
    good = count - bad
    mixture = math.lgamma(bad + _A) + math.lgamma(good + _A) - math.lgamma(count + 2 * _A)
    least = mixture - _LOG_BETA + math.log(alpha)
    middle = bad / count

    def held(share: float) -> bool:
        log_bad = bad * math.log(share) if bad else 0.0
        log_good = good * math.log1p(-share) if good else 0.0
        return log_bad + log_good >= least

    low = 0.0 if bad == 0 else _edge(held, middle, 0.0)
    high = 1.0 if good == 0 else _edge(held, middle, 1.0)
    return low, high


def _edge(held: Callable[[float], bool], inside: float, outside: float) -> float:
    """Return where `held` ends between a share at which it holds and one at which it does not."""
    for _ in range(_ROUNDS):
        middle = (inside + outside) / 2
        if middle in (inside, outside):
            break
        if held(middle):
            inside = middle
        else:
            outside = middle
    return outside
