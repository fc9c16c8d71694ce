"""Fixtures that every test may use."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import settings

from tests.support.broker import broker, fresh_broker

collect_ignore_glob = ["support/*", "data/*"]
"""Helpers, not tests: doctests are looked for in the detectors alone."""

__all__ = ["broker", "fresh_broker"]

# How long an example takes is the machine's business.
settings.register_profile("tocsin", deadline=None)
settings.load_profile("tocsin")


@pytest.fixture(autouse=True)
def _logging_stays_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process made of logging: its output is gone by now."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    structlog.reset_defaults()
    root.handlers[:] = handlers
    root.setLevel(level)
