"""Alertmanager's decision to notify, case by case."""

from __future__ import annotations

import pytest

from alerting.dedup import Entry, NotifyReason, reason_to_notify


def entry(firing: str, resolved: str = "") -> Entry:
    return Entry(firing=frozenset(firing), resolved=frozenset(resolved), at_us=100)


@pytest.mark.parametrize(
    ("before", "firing", "resolved", "now_us", "reason"),
    [
        (None, "", "", 100, NotifyReason.DO_NOT),
        (None, "", "a", 100, NotifyReason.DO_NOT),  # resolves come only after a fire
        (None, "a", "", 100, NotifyReason.FIRST),
        (entry("a"), "ab", "", 101, NotifyReason.NEW_ALERTS),
        (entry("a"), "b", "a", 101, NotifyReason.NEW_ALERTS),
        (entry("ab"), "a", "", 101, NotifyReason.DO_NOT),
        (entry("ab"), "a", "b", 101, NotifyReason.NEW_RESOLVED),
        (entry("a", "b"), "a", "b", 101, NotifyReason.DO_NOT),
        (entry("ab"), "", "ab", 101, NotifyReason.ALL_RESOLVED),
        (entry("", "ab"), "", "ab", 101, NotifyReason.DO_NOT),
        (entry("a"), "a", "", 150, NotifyReason.DO_NOT),  # exactly the interval is not after it
        (entry("a"), "a", "", 151, NotifyReason.REPEAT),
        (entry("", "a"), "", "a", 999, NotifyReason.DO_NOT),  # what is over is not repeated
    ],
)
def test_the_reason(
    before: Entry | None, firing: str, resolved: str, now_us: int, reason: NotifyReason
) -> None:
    assert reason_to_notify(before, frozenset(firing), frozenset(resolved), 50, now_us) is reason
