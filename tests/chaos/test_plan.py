"""The plan follows from the seed and hits what it says."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

from tests.chaos.plan import plan


def test_every_fifth_kill_is_the_stores_and_all_lie_within_the_load() -> None:
    blows = plan(1, 100, kills=25, stalls=3, stall_s=(4, 6))
    kinds = Counter(blow.kind for blow in blows)
    assert kinds == {"kill worker": 20, "kill store": 5, "stall worker": 3}
    assert [blow.at_s for blow in blows] == sorted(blow.at_s for blow in blows)
    assert all(0 <= blow.at_s <= 100 for blow in blows)
    assert all(blow.down_s >= 4 for blow in blows if blow.kind == "stall worker")


def test_kills_are_spread_and_some_follow_at_once() -> None:
    times = [blow.at_s for blow in plan(2, 100, kills=25)]
    assert min(times) < 20
    assert max(times) > 80
    gaps = [after - before for before, after in pairwise(times)]
    assert sum(gap <= 0.5 for gap in gaps) >= 2


def test_the_seed_decides() -> None:
    assert plan(3, 100, kills=10) == plan(3, 100, kills=10)
    assert plan(3, 100, kills=10) != plan(4, 100, kills=10)
