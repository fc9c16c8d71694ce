"""``tocsin replay``."""

from __future__ import annotations

__all__ = ["replay"]


def replay() -> None:
    """Replay."""
