"""Which alerts mute which: Alertmanager's rules, checked against a slow reading of them."""

from __future__ import annotations

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from alerting.inhibit import Inhibitor
from alerting.rules.scope import Matcher
from schemas.base import Labels


@dataclass(frozen=True)
class Rule:
    source_matchers: tuple[Matcher, ...]
    target_matchers: tuple[Matcher, ...]
    equal: tuple[str, ...] = ()


def rule(source: str, target: str, *equal: str) -> Rule:
    return Rule((Matcher.parse(source),), (Matcher.parse(target),), equal)


LOUD = rule("severity=critical", "severity=warning", "model")


def test_a_critical_alert_mutes_the_warnings_of_its_model() -> None:
    inhibitor = Inhibitor([LOUD])
    warning = {"severity": "warning", "model": "a"}
    assert inhibitor.muted_by(warning) is None
    inhibitor.add("c", {"severity": "critical", "model": "a"})
    assert inhibitor.muted_by(warning) == "c"
    assert inhibitor.muted_by({"severity": "warning", "model": "b"}) is None
    assert inhibitor.muted_by({"severity": "critical", "model": "a"}) is None
    inhibitor.discard("c", {"severity": "critical", "model": "a"})
    assert inhibitor.muted_by(warning) is None


def test_a_label_that_both_lack_is_equal() -> None:
    inhibitor = Inhibitor([LOUD])
    inhibitor.add("c", {"severity": "critical"})
    assert inhibitor.muted_by({"severity": "warning", "model": ""}) == "c"


def test_an_alert_does_not_mute_itself_nor_its_like() -> None:
    inhibitor = Inhibitor([rule("model=~.+", "severity=error")])
    both = {"model": "a", "severity": "error"}
    inhibitor.add("one", both)
    assert inhibitor.muted_by(both) is None
    inhibitor.add("two", both)
    assert inhibitor.muted_by(both) is None
    inhibitor.add("pure", {"model": "a", "severity": "critical"})
    assert inhibitor.muted_by(both) == "pure"


values = st.sampled_from(["", "a", "b"])
labels = st.fixed_dictionaries({}, optional=dict.fromkeys(("x", "y", "z"), values))
matchers = st.builds(
    lambda label, op, value: Matcher.parse(f"{label}{op}{value}"),
    st.sampled_from(["x", "y", "z"]),
    st.sampled_from(["=", "!=", "=~", "!~"]),
    st.sampled_from(["", "a", "a|b"]),
)
rules = st.builds(
    Rule,
    st.tuples(matchers),
    st.tuples(matchers),
    st.sampled_from([(), ("x",), ("x", "y")]),
)


def _all(matchers: tuple[Matcher, ...], of: Labels) -> bool:
    return all(matcher.matches(of) for matcher in matchers)


@given(st.lists(rules, max_size=3), st.lists(labels, max_size=6), labels)
def test_it_mutes_what_the_definition_mutes(
    given_rules: list[Rule], firing: list[Labels], target: Labels
) -> None:
    inhibitor = Inhibitor(given_rules)
    for number, of in enumerate([*firing, {"x": "gone"}]):
        inhibitor.add(str(number), of)
    inhibitor.discard(str(len(firing)), {"x": "gone"})
    expected = any(
        _all(each.target_matchers, target)
        and _all(each.source_matchers, source)
        and all(source.get(name, "") == target.get(name, "") for name in each.equal)
        and not (_all(each.source_matchers, target) and _all(each.target_matchers, source))
        for each in given_rules
        for source in firing
    )
    assert (inhibitor.muted_by(target) is not None) is expected
