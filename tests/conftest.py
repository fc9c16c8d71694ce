"""Fixtures that every test may use."""

from __future__ import annotations

from tests.support.broker import broker, fresh_broker

collect_ignore_glob = ["support/*", "data/*"]
"""Helpers, not tests: doctests are looked for in the detectors alone."""

__all__ = ["broker", "fresh_broker"]
