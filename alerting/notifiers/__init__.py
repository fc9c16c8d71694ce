"""The edges of alerting: one file a receiver, all behind one protocol."""

from __future__ import annotations

from alerting.notifiers.base import Notifier, NotifyRefused, NotifyRetryable, Receipt
from alerting.notifiers.build import build_notifiers

__all__ = ["Notifier", "NotifyRefused", "NotifyRetryable", "Receipt", "build_notifiers"]
