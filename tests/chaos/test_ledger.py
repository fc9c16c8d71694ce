"""The ledger's figures are those of the events on the wire, added up one by one."""

from __future__ import annotations

from collections import defaultdict
from decimal import Decimal
from typing import Any

import numpy as np
import pytest

from schemas.event import RequestEvent
from schemas.pricing import load_price_book
from tests.chaos.ledger import EVENT, ROLLUP_COLUMNS, WINDOW_COLUMNS, Ledger
from tests.chaos.traffic import SERIES, USERS, Traffic, values
from tests.support.events import NOW_US

WINDOW_US = 2_000_000


@pytest.fixture(scope="module")
def ledger() -> Ledger:
    return Ledger(Traffic(1).make(3_000, NOW_US, NOW_US + 10_000_000), SERIES, USERS)


@pytest.fixture(scope="module")
def sent(ledger: Ledger) -> list[RequestEvent]:
    return [RequestEvent.model_validate_json(value) for value in values(ledger.events)]


def by_hand(sent: list[RequestEvent], size_us: int, *, rollup: bool) -> dict[Any, Any]:
    """Add events up in decimal dollars, as a reader of the documents would."""
    book = load_price_book()
    groups: dict[Any, list[RequestEvent]] = defaultdict(list)
    for event in sent:
        labels = (event.provider, event.model, event.model_version, event.route.value)
        start_us = event.end_time_us - event.end_time_us % size_us
        groups[start_us, *labels, event.feature or ""].append(event)
    figures = {}
    for key, events in groups.items():
        costs = []
        no_price = 0
        for event in events:
            price = book.find(event.provider, event.model)
            tokens = (event.input_tokens, event.cached_input_tokens, event.output_tokens)
            told = event.input_tokens is not None and event.output_tokens is not None
            cost = price.cost(*tokens) if price else None
            costs.append(Decimal(0) if event.rejected else cost)
            if rollup:
                no_price += costs[-1] is None and told
            else:
                no_price += costs[-1] is None and (price is None or told)

        def tokens_of(name: str, events: list[RequestEvent] = events) -> int | None:
            known = [getattr(e, name) for e in events if getattr(e, name) is not None]
            return sum(known) if known or not rollup else None

        known = [cost for cost in costs if cost is not None]
        figures[key] = (
            len(events),
            sum(e.failed for e in events),
            sum(e.rejected for e in events),
            sum(e.aborted for e in events),
            tokens_of("input_tokens"),
            tokens_of("cached_input_tokens"),
            tokens_of("output_tokens"),
            sum(e.input_tokens is None or e.output_tokens is None for e in events),
            int(sum(known, Decimal(0)) * 10**9) if known else None,
            len(costs) - len(known),
            no_price,
        )
    return figures


def test_windows_are_the_sums_of_their_events(ledger: Ledger, sent: list[RequestEvent]) -> None:
    wanted = by_hand(sent, WINDOW_US, rollup=False)
    assert len(wanted) > 100
    assert len(next(iter(wanted.values()))) == len(WINDOW_COLUMNS)
    assert ledger.windows(WINDOW_US) == wanted


def test_rollups_keep_unknown_apart_from_zero(ledger: Ledger, sent: list[RequestEvent]) -> None:
    wanted = by_hand(sent, WINDOW_US // 20, rollup=True)
    assert ledger.rollup(WINDOW_US // 20) == wanted
    assert len(next(iter(wanted.values()))) == len(ROLLUP_COLUMNS)
    assert any(figures[8] is None for figures in wanted.values())


def test_costs_by_user_add_up_to_all_events(ledger: Ledger) -> None:
    costs = ledger.costs(3_600_000_000)
    assert sum(figures[0] or 0 for figures in costs.values()) == len(ledger)
    known = ledger.events["cost"][ledger.events["cost"] >= 0]
    assert sum(figures[3] or 0 for figures in costs.values()) == known.sum()
    assert len({key[4] for key in costs}) == len(USERS)


def test_ids_are_found_and_strangers_are_not(ledger: Ledger) -> None:
    high, low = ledger.events["high"], ledger.events["low"]
    assert ledger.number(high, low).tolist() == list(range(len(ledger)))
    other = Ledger(Traffic(2).make(10, NOW_US, NOW_US), SERIES, USERS).events
    assert ledger.number(other["high"], other["low"]).tolist() == [-1] * 10
    beyond = low[:1] + np.uint64(len(ledger))
    assert ledger.number(high[:1], beyond).tolist() == [-1]


def test_the_wire_has_the_ledgers_ids_and_times(ledger: Ledger, sent: list[RequestEvent]) -> None:
    for number, event in enumerate(sent):
        assert event.event_id == ledger.id_of(number)
        assert event.event_id.version == 7
        assert event.end_time_us == ledger.events["end_us"][number]
        assert event.e2e_s == ledger.events["e2e_s"][number]


def test_the_same_seed_makes_the_same_events_and_a_part_goes_on_with_the_numbers() -> None:
    first = Traffic(7).make(50, NOW_US, NOW_US + 1_000)
    assert (Traffic(7).make(50, NOW_US, NOW_US + 1_000) == first).all()
    assert (Traffic(8).make(50, NOW_US, NOW_US + 1_000) != first).any()
    after = Traffic(7, first=50).make(50, NOW_US, NOW_US + 1_000)
    both = Ledger(np.concatenate([first, after]), SERIES, USERS)
    assert both.number(both.events["high"], both.events["low"]).tolist() == list(range(100))


def test_nothing_sent_has_no_figures() -> None:
    ledger = Ledger(np.empty(0, EVENT), SERIES, USERS)
    assert ledger.windows(WINDOW_US) == ledger.rollup(WINDOW_US) == ledger.costs(WINDOW_US) == {}
