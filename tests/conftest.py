"""Fixtures that every test may use."""

from __future__ import annotations

from tests.support.broker import broker, fresh_broker

__all__ = ["broker", "fresh_broker"]
