"""Rate limits: who is charged what, who has to wait, and for how long."""

from __future__ import annotations

import pytest

from serving.gateway.bucket import TokenBucket
from serving.gateway.buckets import MemoryBuckets
from serving.gateway.limits import Grant, Identity, Limited, RateLimiter
from serving.gateway.model import LimitRule


def test_a_bucket_refills_evenly_up_to_its_capacity() -> None:
    bucket = TokenBucket(60, 0)
    bucket.charge(60, 0)
    assert bucket.wait_s(1, 0) == pytest.approx(1)
    assert bucket.wait_s(1, 0.5) == pytest.approx(0.5)
    assert bucket.level(30) == pytest.approx(30)
    assert bucket.level(1e6) == 60


def test_what_is_larger_than_the_bucket_waits_for_a_full_one_and_leaves_a_debt() -> None:
    bucket = TokenBucket(60, 0)
    assert bucket.wait_s(120, 0) == 0
    bucket.charge(120, 0)
    assert bucket.level(0) == -60
    assert bucket.wait_s(1, 0) == pytest.approx(61)


def test_a_clock_that_steps_back_gives_nothing() -> None:
    bucket = TokenBucket(60, 100)
    bucket.charge(60, 100)
    assert bucket.level(50) == 0
    assert bucket.level(101) == pytest.approx(1)


ALICE = Identity(user="alice", plan="free", feature="search")
BOB = Identity(user="bob", plan="free", feature="search")


def limiter(*rules: LimitRule, **profiles: tuple[LimitRule, ...]) -> RateLimiter:
    return RateLimiter({"normal": rules, **profiles})


def test_requests_by_user() -> None:
    made = limiter(LimitRule(by="user", requests_per_minute=2))
    assert isinstance(made.admit(ALICE, 1, 0, ""), Grant)
    assert isinstance(made.admit(ALICE, 1, 0, ""), Grant)
    refused = made.admit(ALICE, 1, 0, "")
    assert isinstance(refused, Limited)
    assert refused.wait_s == pytest.approx(30)
    assert "2 requests a minute" in refused.reason
    assert isinstance(made.admit(BOB, 1, 0, ""), Grant)
    assert isinstance(made.admit(ALICE, 1, 30, ""), Grant)


def test_a_refusal_charges_nothing() -> None:
    made = limiter(
        LimitRule(by="plan", requests_per_minute=10), LimitRule(by="user", requests_per_minute=1)
    )
    made.admit(ALICE, 1, 0, "")
    for _ in range(50):
        assert isinstance(made.admit(ALICE, 1, 0, ""), Limited)
    for n in range(9):
        assert isinstance(made.admit(Identity(user=f"u{n}", plan="free"), 1, 0, ""), Grant)


def test_tokens_are_reserved_and_settled() -> None:
    made = limiter(LimitRule(by="user", tokens_per_minute=600))
    grant = made.admit(ALICE, 100, 0, "")
    assert isinstance(grant, Grant)
    made.settle(grant, 700, 0)
    refused = made.admit(ALICE, 1, 0, "")
    assert isinstance(refused, Limited)
    assert refused.wait_s == pytest.approx(10.1)
    grant = made.admit(BOB, 500, 0, "")
    assert isinstance(grant, Grant)
    made.settle(grant, 0, 0)
    assert isinstance(made.admit(BOB, 600, 0, ""), Grant)
    made.settle(grant, None, 0)


def test_rules_match_by_plan_and_feature() -> None:
    made = limiter(LimitRule(by="user", plan="free", feature="search", requests_per_minute=1))
    pro = Identity(user="alice", plan="pro", feature="search")
    other = Identity(user="alice", plan="free", feature="chat")
    made.admit(ALICE, 1, 0, "")
    assert isinstance(made.admit(ALICE, 1, 0, ""), Limited)
    for who in (pro, other):
        for _ in range(5):
            assert isinstance(made.admit(who, 1, 0, ""), Grant)


def test_who_has_no_name_shares_a_bucket() -> None:
    made = limiter(LimitRule(by="user", requests_per_minute=1))
    made.admit(Identity(), 1, 0, "")
    assert isinstance(made.admit(Identity(plan="x"), 1, 0, ""), Limited)


def test_profiles_change_while_running() -> None:
    tight = (LimitRule(by="user", requests_per_minute=1),)
    made = limiter(LimitRule(by="user", requests_per_minute=100), tight=tight)
    for _ in range(5):
        assert isinstance(made.admit(ALICE, 1, 0, "normal"), Grant)
    made.admit(ALICE, 1, 0, "tight")
    assert isinstance(made.admit(ALICE, 1, 0, "tight"), Limited)
    assert isinstance(made.admit(ALICE, 1, 0, "normal"), Grant)
    assert made.profile("no such") == "normal"


def test_memory_is_bounded_and_the_busy_are_kept() -> None:
    kept = MemoryBuckets(capacity=10)
    made = RateLimiter({"n": [LimitRule(by="user", requests_per_minute=1)]}, kept)
    made.admit(ALICE, 1, 0, "")
    for n in range(1_000):
        made.admit(Identity(user=f"u{n}"), 1, 0, "")
        assert isinstance(made.admit(ALICE, 1, 0, ""), Limited)
    assert len(kept) == 10


def test_without_rules_all_is_granted() -> None:
    assert isinstance(RateLimiter({}).admit(ALICE, 1e9, 0, "x"), Grant)
