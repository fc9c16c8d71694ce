"""A backtest: what the store holds of a time, through some rules."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from clickhouse_connect.driver.client import Client

from alerting.policy import Policy
from alerting.rehearsal import Answer, Said, Says, answer_with
from alerting.rules.ruleset import RuleSet
from schemas.action import ActionRequested, ActionResult, ActionStatus
from schemas.derived import RATIOS
from schemas.settings import Settings
from schemas.signal import SIGNALS, SignalName, SignalQuery
from tocsin.backtest.ahead import ahead
from tocsin.backtest.columns import BacktestError
from tocsin.backtest.episodes import Episode, episodes_of
from tocsin.backtest.facts import Facts
from tocsin.backtest.percentiles import PERCENTILES, sketched
from tocsin.backtest.recorded import Recorded
from tocsin.backtest.replay import Replay
from tocsin.backtest.series import Floats, Ints
from tocsin.backtest.windows import COMPUTABLE, Windows

__all__ = ["Outcome", "Span", "backtest"]

_DAY_S: Final = 86_400.0
_COST_BY: Final = frozenset({"user_id"})


@dataclass(frozen=True, slots=True)
class Span:
    """The time that is looked at, (since, until] in microseconds."""

    since_us: int
    until_us: int


@dataclass(slots=True)
class Outcome:
    """What some rules would have done.

    Attributes:
        said: every transition, those before the time included that set its stage.
        episodes: the incidents that were open at some moment of it.
        sources: where each rule's signal came from: ``signals``, ``windows`` or ``facts``.
        untried: rules that could not be tried, with the reason.
        series: how many series were looked at.
        windows: how many values.
        steps: how many steps of the state machine were taken.
        seconds: how long it took.
    """

    said: list[Said] = field(default_factory=list)
    episodes: list[Episode] = field(default_factory=list)
    sources: dict[str, str] = field(default_factory=dict)
    untried: dict[str, str] = field(default_factory=dict)
    series: int = 0
    windows: int = 0
    steps: int = 0
    seconds: float = 0.0


def backtest(
    client: Client,
    rules: RuleSet,
    settings: Settings,
    span: Span,
    tell: Callable[[str], None] = lambda _: None,
) -> Outcome:
    """Return what rules would have done in a time, by the worker's own steps.

    A signal that the rules in force asked for is taken as it was recorded, so that these rules
    decide again what they decided then; any other is computed from the closed windows and
    their sketches, or from scores, thumbs and samples of engines. Actions are answered as they were
    then; one that was not asked for then is a dry run, after which everything goes on as it did.
    What people approved or rejected then they do again; what was not proposed then expires.

    Args:
        client: the store, with the product's database.
        rules: as written; they are scaled as the settings say.
        settings: windows, policy and scale.
        span: the time; what the rules need before it is read, too.
        tell: hears what is being done.

    Raises:
        BacktestError: the store does not answer, or holds nothing of the time.
    """
    started = time.perf_counter()
    scale = settings.streams.time_scale
    rules = rules.restrained(settings.alerting.modes).scaled(scale)
    outcome = Outcome()
    recorded = Recorded(client, span.since_us - _before_us(rules), span.until_us)
    chosen: list[SignalQuery] = []
    computed: list[SignalQuery] = []
    told: list[SignalQuery] = []
    facts = Facts(client, span.since_us - 2 * _longest_us(rules), span.until_us)
    sketches = sketched(client, span.since_us, span.until_us)
    for query in _ordered(rules):
        if recorded.holds(query):
            chosen.append(query)
        elif _computable(query, sketches):
            computed.append(query)
        elif facts.holds(query):
            told.append(query)
    _sort_rules(rules, {"signals": chosen, "windows": computed, "facts": told}, outcome)
    tell(
        f"reading: {len(chosen)} signals as recorded, {len(computed)} from windows, "
        f"{len(told)} from scores, thumbs and engine samples"
    )
    windows = Windows(
        client,
        computed,
        span.since_us - max(_before_us(rules), _lookback_us(computed)),
        span.until_us,
        settings.streams.window_us,
    )
    ends, lags = _evaluations(recorded, windows, span if told else None)
    replay = Replay(
        rules,
        Policy.from_settings(settings.alerting).scaled(scale),
        _answers(recorded),
        ends,
        lags,
        max_lag_s=settings.alerting.max_watermark_lag_s,
        says=_says(recorded),
    )
    loaded = ahead(lambda query: recorded.load(query, _details(rules, query)), chosen)
    for rank, query in enumerate(_ordered(rules)):
        tell(f"{query.signal} over {query.over_s:g} s by {', '.join(query.by) or 'nothing'}")
        if query in chosen:
            found = recorded.split(query, _details(rules, query), next(loaded))
        elif query in computed:
            found = windows.series(query)
        elif query in told:
            found = facts.series(query, ends)
        else:
            continue
        for series in found:
            replay.add(rank, series)
            outcome.series += 1
            outcome.windows += series.ends.size
    tell("stepping")
    rehearsal = replay.run()
    outcome.said = [s for s in rehearsal.said if s.transition.at_us <= span.until_us]
    outcome.episodes = episodes_of(outcome.said, span.since_us)
    outcome.steps = replay.steps
    outcome.seconds = time.perf_counter() - started
    return outcome


def _computable(query: SignalQuery, sketches: frozenset[str]) -> bool:
    """Tell whether the closed windows answer a query, by their figures or by the sketches kept."""
    if query.signal not in COMPUTABLE or _COST_BY & set(query.by):
        return False
    needed = PERCENTILES.get(SIGNALS[query.signal].of or query.signal)
    return needed is None or needed[0] in sketches


def _ordered(rules: RuleSet) -> list[SignalQuery]:
    """Return the queries in the order in which the worker says their signals."""
    late = {SignalName.QUALITY_SCORE: 1, SignalName.SCORE_COUNT: 1, SignalName.WATERMARK_LAG: 3}
    return sorted(rules.queries(), key=lambda query: (late.get(query.signal, 0), repr(query)))


def _before_us(rules: RuleSet) -> int:
    """Return how long before a time the rules have to be followed to know what was pending."""
    dwell_s = max((rule.for_s + rule.keep_firing_for_s for rule in rules.rules), default=0.0)
    return round(dwell_s * 1e6)


def _lookback_us(queries: list[SignalQuery]) -> int:
    """Return how long before a time windows are needed, for lookbacks and baselines."""
    longest_s = 0.0
    for query in queries:
        relative = query.signal in RATIOS.values()
        longest_s = max(longest_s, query.over_s * (24 if relative else 1))
    return round(min(longest_s, 3 * _DAY_S) * 1e6)


def _longest_us(rules: RuleSet) -> int:
    longest_s = max((rule.over_s for rule in rules.rules), default=0.0)
    return max(_before_us(rules), round(longest_s * 1e6))


def _sort_rules(rules: RuleSet, sources: dict[str, list[SignalQuery]], outcome: Outcome) -> None:
    for rule in rules.rules:
        source = next((name for name, asked in sources.items() if rule.query in asked), None)
        if source is not None:
            outcome.sources[rule.name] = source
            continue
        asked = f"{rule.signal} over {rule.over_s:g} s by {', '.join(rule.by) or 'nothing'}"
        quantity = SIGNALS[rule.signal].of or rule.signal
        why = "the store holds nothing that tells it"
        if quantity in PERCENTILES and rule.signal in COMPUTABLE:
            why = "windows of this time keep no sketches"
        outcome.untried[rule.name] = f"{asked} was not recorded then, and {why}"


def _details(rules: RuleSet, query: SignalQuery) -> list[str]:
    names = {
        condition.detail
        for rule in rules.rules
        if rule.query == query
        for step in rule.ladder
        for condition in step.when
        if condition.detail is not None
    }
    return sorted(names)


def _evaluations(recorded: Recorded, windows: Windows, alone: Span | None) -> tuple[Ints, Floats]:
    """Return the ends of evaluations and the lag at each; ``alone`` is for facts without either."""
    told, told_lags = recorded.evaluations()
    ends = np.union1d(told, windows.ends)
    if not ends.size and alone is not None:
        first_us = -(-alone.since_us // windows.window_us) * windows.window_us
        ends = np.arange(first_us, alone.until_us + 1, windows.window_us)
    if not ends.size:
        raise BacktestError("the store holds neither signals nor windows of this time")
    lags = np.full(ends.size, np.nan)
    lags[np.searchsorted(ends, told)] = told_lags
    return ends, lags


def _answers(recorded: Recorded) -> Answer:
    results = recorded.results()
    otherwise = answer_with(ActionStatus.DRY_RUN)

    def answer(request: ActionRequested) -> ActionResult | None:
        return results.get(request.action_id) or otherwise(request)

    return answer


def _says(recorded: Recorded) -> Says:
    words = recorded.words()
    return lambda awaiting: words.get(awaiting.request.action_id)
