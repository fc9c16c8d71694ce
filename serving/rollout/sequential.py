"""Tell whether one group does worse than another, looking as often as one likes. Pure.

A two-sample test of proportions by betting: after each look the evidence is multiplied by a
likelihood ratio whose expectation is at most one as long as the canary does no worse, so that by
Ville's inequality (1939) it ever reaches 1/alpha with a probability of at most alpha, however often
and whenever one looks. The ratio is the e-variable of Turner, Ly and Gruenwald, "Generic
E-variables for exact sequential k-sample tests that allow for optional stopping" (Journal of
Statistical Planning and Inference 230, 2024): exact for finite samples, and for groups of unequal
size.
"""

from __future__ import annotations

import math
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Evidence", "Look"]

_Count = Annotated[int, Field(ge=0)]

_ODDS: Final = (1.5, 2.0, 3.0, 6.0)
"""Odds ratios of canary to stable on which the stake is spread; their mean is bet."""
_PRIOR_BAD: Final = 0.5
_PRIOR_N: Final = 25.0
_EDGE: Final = 1e-4


class Look(BaseModel):
    """What came since the last look: requests of each group, and how many of them were bad."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    stable: _Count = 0
    stable_bad: _Count = 0
    canary: _Count = 0
    canary_bad: _Count = 0


class Evidence(BaseModel):
    """Evidence that bad requests are more frequent in the canary; a value, replaced at each look.

    ``log_bets`` are the logarithms of what each stake has become; the counts are of all looks.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    log_bets: tuple[float, ...] = (0.0,) * len(_ODDS)
    stable: _Count = 0
    stable_bad: _Count = 0
    canary: _Count = 0
    canary_bad: _Count = 0

    @property
    def log_value(self) -> float:
        """Return the logarithm of the evidence: 0 is none, log(1/alpha) is enough."""
        top = max(self.log_bets)
        spread = sum(math.exp(bet - top) for bet in self.log_bets) / len(self.log_bets)
        return top + math.log(spread)

    def after(self, look: Look) -> Evidence:
        """Return the evidence after a look.

        The rate that is expected of the stable group is learnt from earlier looks alone: a bet on
        what is known already would be worth nothing.

        Raises:
            ValueError: more were bad than there were.
        """
        if look.stable_bad > look.stable or look.canary_bad > look.canary:
            raise ValueError("more requests were bad than there were")
        bets = self.log_bets
        if look.stable and look.canary:
            rate = (self.stable_bad + _PRIOR_BAD) / (self.stable + _PRIOR_N)
            rate = min(max(rate, _EDGE), 1 - _EDGE)
            bets = tuple(
                bet + _log_ratio(look, rate, odds)
                for bet, odds in zip(self.log_bets, _ODDS, strict=True)
            )
        return Evidence(
            log_bets=bets,
            stable=self.stable + look.stable,
            stable_bad=self.stable_bad + look.stable_bad,
            canary=self.canary + look.canary,
            canary_bad=self.canary_bad + look.canary_bad,
        )


def _log_ratio(look: Look, rate: float, odds: float) -> float:
    """Return the logarithm of the e-variable of one block.

    The alternative has `rate` in the stable group and the rate of `odds` times its odds in the
    canary; the null hypothesis closest to it has their average, weighted by size, in both.
    """
    canary = odds * rate / (1 - rate + odds * rate)
    total = look.stable + look.canary
    both = (look.stable * rate + look.canary * canary) / total
    bad, good = look.stable_bad, look.stable - look.stable_bad
    canary_bad, canary_good = look.canary_bad, look.canary - look.canary_bad
    return (
        bad * math.log(rate)
        + good * math.log1p(-rate)
        + canary_bad * math.log(canary)
        + canary_good * math.log1p(-canary)
        - (bad + canary_bad) * math.log(both)
        - (good + canary_good) * math.log1p(-both)
    )
