"""What a rollout compares, and the steps that it takes."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

__all__ = ["METRICS", "STEPS", "Metric"]


class Metric(StrEnum):
    """What makes a request a bad one; each is a share, so that one test serves all."""

    ERRORS = "errors"
    """It failed, or another version had to answer."""
    LATENCY = "latency"
    """It took longer than 95 % of the stable version's requests had until then."""
    QUALITY = "quality"
    """The judge scored it lower than 90 % of the stable version's until then."""
    COST = "cost"
    """It cost more than 90 % of the stable version's requests had until then."""


METRICS: Final = tuple(Metric)

STEPS: Final = ("shadow", "5", "25", "50", "100")
"""Shadow copies first, then the canary's share in percent; at 100 the version is promoted."""
