"""Rate limits that several processes share: together they let no more through than one would."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from serving.gateway.bucket import TokenBucket
from serving.gateway.buckets import BucketKey, Buckets, MemoryBuckets
from serving.gateway.limits import Grant, Identity, Limited, RateLimiter
from serving.gateway.model import LimitRule
from serving.gateway.shared_buckets import SharedBuckets, make_shared
from tests.support.waiting import until_true

ROOT = Path(__file__).resolve().parents[4]
ALICE = Identity(user="alice")


@pytest.fixture
def descriptor() -> Iterator[int]:
    made = make_shared(64)
    yield made
    os.close(made)


def key(name: str, per_minute: float = 60) -> BucketKey:
    return BucketKey("n", 0, "requests", name, per_minute)


def taken(buckets: Buckets, name: str, at: float = 0) -> float:
    """Take one, and return what is left."""
    with buckets.locked():
        bucket = buckets.get(key(name), at)
        bucket.charge(1, at)
        buckets.put(key(name), bucket)
    return buckets.get(key(name), at).level(at)


def test_both_kinds_keep_the_same(descriptor: int) -> None:
    for buckets in (MemoryBuckets(), SharedBuckets(descriptor)):
        assert taken(buckets, "a") == 59
        assert taken(buckets, "a") == 58
        assert taken(buckets, "b") == 59
        assert taken(buckets, "a", at=1) == 58  # one has come back
        assert buckets.get(key("c"), 5).level(5) == 60


def test_one_sees_what_the_other_took(descriptor: int) -> None:
    one, other = SharedBuckets(descriptor), SharedBuckets(descriptor)
    taken(one, "a")
    assert taken(other, "a") == 58
    rules = {"n": [LimitRule(by="user", requests_per_minute=2, tokens_per_minute=100)]}
    first, second = RateLimiter(rules, one), RateLimiter(rules, other)
    granted = first.admit(ALICE, 50, 0, "n")
    assert isinstance(granted, Grant)
    first.settle(granted, 100, 0)
    refused = second.admit(ALICE, 1, 0, "n")
    assert isinstance(refused, Limited)
    assert "tokens" in refused.reason


def test_memory_is_bounded_and_the_longest_unused_give_way() -> None:
    descriptor = make_shared(1)  # eight slots
    buckets = SharedBuckets(descriptor)
    for at in range(8):
        taken(buckets, f"user {at}", at)
    taken(buckets, "user 0", 8)
    taken(buckets, "the ninth", 9)
    assert buckets.get(key("the ninth"), 9).state == (59, 9)
    assert buckets.get(key("user 0"), 9).state == (59, 8)
    assert buckets.get(key("user 1"), 9).state == (60, 9)  # was the oldest: it is full again
    os.close(descriptor)


def test_a_restored_bucket_goes_on() -> None:
    bucket = TokenBucket(60, 0)
    bucket.charge(100, 10)
    level, at = bucket.state
    assert TokenBucket(60, at, level).level(20) == bucket.level(20) == -30


CHARGE = """
import sys
from serving.gateway.shared_buckets import SharedBuckets
from serving.gateway.limits import Grant, Identity, RateLimiter
from serving.gateway.model import LimitRule
rules = {"n": [LimitRule(by="user", requests_per_minute=1000)]}
limiter = RateLimiter(rules, SharedBuckets(int(sys.argv[1])))
who = Identity(user="alice")
print(sum(isinstance(limiter.admit(who, 1, 0.0, "n"), Grant) for _ in range(900)))
"""

HOLD = """
import sys, time
from serving.gateway.shared_buckets import SharedBuckets
with SharedBuckets(int(sys.argv[1])).locked():
    print("held", flush=True)
    time.sleep(600)
"""


def process(code: str, descriptor: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, str(descriptor)],
        pass_fds=(descriptor,),
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def test_processes_at_once_let_through_what_one_would(descriptor: int) -> None:
    running = [process(CHARGE, descriptor) for _ in range(3)]
    granted = [int(each.communicate(timeout=60)[0]) for each in running]
    assert sum(granted) == 1000


def test_a_process_that_dies_with_the_lock_gives_it_back(descriptor: int) -> None:
    holder = process(HOLD, descriptor)
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    waiting = process(CHARGE, descriptor)
    until_true(lambda: _waits(waiting.pid))
    holder.send_signal(signal.SIGKILL)
    assert waiting.communicate(timeout=60)[0] == "900\n"
    holder.communicate()


def _waits(pid: int) -> bool:
    """Tell whether a process waits for a lock; the kernel lists who does, after an arrow."""
    time.sleep(0.05)
    lines = Path("/proc/locks").read_text().splitlines()
    return any("->" in line and f" {pid} " in line for line in lines)
