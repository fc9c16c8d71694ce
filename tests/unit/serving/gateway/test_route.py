"""Where requests go by the flags in force."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.event import Route
from serving.gateway.in_force import InForce
from serving.gateway.model import GatewayFile
from serving.gateway.route import Decision, Denied, decide
from serving.gateway.rules import Facts, Rule, choose
from serving.gateway.share import in_share

FILE = GatewayFile.model_validate(
    {
        "version": 1,
        "upstreams": {
            "a1": {"base_url": "http://a1/v1", "provider": "a"},
            "a2": {"base_url": "http://a2/v1", "provider": "a"},
            "b": {"base_url": "http://b/v1", "provider": "b"},
            "c": {"base_url": "http://c/v1", "provider": "c"},
        },
        "models": {
            "assistant": {
                "targets": [
                    {"upstream": "a1", "versions": {"v1": "m", "v2": "m-2"}},
                    {"upstream": "a2", "versions": {"v1": "m", "v2": "m-2"}},
                    {"upstream": "b", "versions": {"v1": "bm"}},
                    {"upstream": "c", "versions": {"x": "cm", "y": "cn"}},
                ]
            },
            "large": {"targets": [{"upstream": "b", "versions": {"v1": "huge"}}]},
            "auto": {"rules": [{"tools": True, "use": "large"}, {"use": "assistant"}]},
        },
    }
)


def routed(flags: InForce, model: str = "assistant", **changes: Any) -> Any:
    named: dict[str, Any] = {"user": "alice", "request_id": "r", "load": lambda _: 0}
    facts = changes.pop("facts", Facts())
    return decide(FILE, flags, model, facts, **(named | changes))


def path(decision: Any) -> list[tuple[str, str, str]]:
    assert isinstance(decision, Decision)
    return [(hop.upstream, hop.version, hop.route) for hop in decision.hops]


def test_provider_version_and_the_chain() -> None:
    assert path(routed(InForce(provider="a", version="v1"))) == [
        ("a1", "v1", Route.STABLE),
        ("a2", "v1", Route.STABLE),
        ("b", "v1", Route.FALLBACK),
        ("c", "x", Route.FALLBACK),
    ]
    assert path(routed(InForce(provider="b", version="v1")))[0] == ("b", "v1", Route.STABLE)
    assert routed(InForce(provider="b", version="v1")).hops[0].model == "bm"


def test_a_version_that_the_provider_lacks_is_fetched_where_it_is() -> None:
    assert [hop[0] for hop in path(routed(InForce(provider="b", version="v2")))] == [
        "a1",
        "a2",
        "b",
        "c",
    ]


def test_without_flags_the_first_target_leads() -> None:
    assert path(routed(InForce()))[0] == ("a1", "v1", Route.STABLE)
    assert path(routed(InForce(provider="elsewhere", version="v1")))[0][0] == "a1"


def test_the_least_loaded_first_and_equals_in_turn() -> None:
    flags = InForce(provider="a", version="v1")
    busy = {"a1": 5, "b": 0}
    assert path(routed(flags, load=lambda name: busy.get(name, 0)))[0][0] == "a2"
    assert [path(routed(flags, turn=n))[0][0] for n in range(4)] == ["a1", "a2", "a1", "a2"]


def test_the_chain_switched_off() -> None:
    flags = InForce(provider="a", version="v1", fallback=False)
    assert [hop[0] for hop in path(routed(flags))] == ["a1", "a2"]
    flags = InForce(provider="b", version="v2", fallback=False)
    assert [hop[0] for hop in path(routed(flags))] == ["a1"]


def test_a_canary_falls_back_to_the_version_in_force() -> None:
    flags = InForce(provider="a", version="v1", canary_version="v2", canary_percent=100)
    assert path(routed(flags))[:5] == [
        ("a1", "v2", Route.CANARY),
        ("a2", "v2", Route.CANARY),
        ("a1", "v1", Route.CANARY),
        ("a2", "v1", Route.CANARY),
        ("b", "v1", Route.CANARY),
    ]
    alone = InForce("a", "v1", "v2", canary_percent=100, fallback=False)
    assert [hop[:2] for hop in path(routed(alone))] == [("a1", "v2"), ("a2", "v2")]


def test_the_share_is_right_sticky_and_grows_by_adding() -> None:
    users = [f"user-{n}" for n in range(20_000)]
    five = {u for u in users if in_share(u, "v2", 5)}
    quarter = {u for u in users if in_share(u, "v2", 25)}
    assert abs(len(five) / len(users) - 0.05) < 0.005
    assert abs(len(quarter) / len(users) - 0.25) < 0.01
    assert five < quarter
    assert five == {u for u in users if in_share(u, "v2", 5)}
    assert five != {u for u in users if in_share(u, "v3", 5)}
    assert not any(in_share(u, "v2", 0) for u in users)
    assert all(in_share(u, "v2", 100) for u in users)


def test_the_canary_sticks_to_the_user() -> None:
    flags = InForce(provider="a", version="v1", canary_version="v2", canary_percent=30)
    for n in range(50):
        versions = {path(routed(flags, user=f"u{n}", request_id=f"r{k}"))[0][1] for k in range(5)}
        assert len(versions) == 1
    by_request = {path(routed(flags, user=None, request_id=f"r{k}"))[0][1] for k in range(50)}
    assert by_request == {"v1", "v2"}


def test_no_canary_of_a_version_that_nobody_has() -> None:
    flags = InForce(provider="a", version="v1", canary_version="v9", canary_percent=100)
    assert path(routed(flags))[0] == ("a1", "v1", Route.STABLE)


def test_shadow_copies_are_drawn_by_request_and_never_of_a_canary() -> None:
    flags = InForce(provider="a", version="v1", canary_version="v2", shadow_percent=20)
    shadows = [routed(flags, request_id=f"r{n}").shadow for n in range(2_000)]
    drawn = [s for s in shadows if s]
    assert 300 < len(drawn) < 500
    assert {(s.upstream, s.version, s.model) for s in drawn} == {("a1", "v2", "m-2")}
    both = InForce("a", "v1", "v2", canary_percent=100, shadow_percent=100)
    assert routed(both).shadow is None


def test_off_and_unknown() -> None:
    off = routed(InForce(enabled=False))
    assert isinstance(off, Denied)
    assert (off.status, off.kind) == (503, "feature_disabled")
    unknown = routed(InForce(), "gpt-9")
    assert isinstance(unknown, Denied)
    assert (unknown.status, unknown.code) == (404, "model_not_found")


def test_rules_choose_by_complexity_when_the_strategy_says_so() -> None:
    on = InForce(provider="a", version="v1", rules=True)
    assert routed(on, "auto", facts=Facts(tools=True)).hops[0].model == "huge"
    assert routed(on, "auto").hops[0].model == "m"
    off = InForce(provider="a", version="v1")
    assert routed(off, "auto", facts=Facts(tools=True)).hops[0].model == "m"


@pytest.mark.parametrize(
    ("condition", "facts", "holds"),
    [
        ({"prompt_chars_over": 10}, Facts(prompt_chars=11), True),
        ({"prompt_chars_over": 10}, Facts(prompt_chars=10), False),
        ({"max_tokens_over": 10}, Facts(max_tokens=None), False),
        ({"max_tokens_over": 10}, Facts(max_tokens=11), True),
        ({"messages_over": 1}, Facts(messages=2), True),
        ({"images": True}, Facts(images=True), True),
        ({"reasoning": True}, Facts(), False),
        ({"tools": False}, Facts(tools=True), False),
        ({"plan": "pro", "tools": True}, Facts(plan="pro"), False),
        ({"plan": "pro", "feature": "x"}, Facts(plan="pro", feature="x"), True),
    ],
)
def test_conditions(condition: dict[str, Any], facts: Facts, holds: bool) -> None:
    rules = [Rule(use="yes", **condition), Rule(use="no")]
    assert choose(rules, facts, enabled=True) == ("yes" if holds else "no")
