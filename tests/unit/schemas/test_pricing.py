from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.columns import PRICE_UNKNOWN, TOKENS_UNKNOWN, EventColumns
from schemas.pricing import NANO, Price, PriceBook, PriceBookError, load_price_book
from tests.support.events import event

GUIDE = {
    "claude-opus-4": ("15.00", "75.00"),
    "claude-sonnet-4": ("3.00", "15.00"),
    "claude-haiku-3.5": ("0.80", "4.00"),
    "gpt-4o": ("2.50", "10.00"),
    "gpt-4o-mini": ("0.15", "0.60"),
    "gemini-2.0-flash": ("0.10", "0.40"),
    "llama-3.1-70b": ("0.90", "0.90"),
    "mistral-large": ("2.00", "6.00"),
}


def nano(**fields: object) -> int:
    columns = EventColumns.from_events([event(**fields)])
    return int(load_price_book().cost_columns(columns)[0])


def test_the_guides_eight_prices_ship() -> None:
    prices = {price.model: (price.input, price.output) for price in load_price_book().prices}
    assert prices == {name: tuple(map(Decimal, pair)) for name, pair in GUIDE.items()}


def test_a_cost_is_exact() -> None:
    assert nano(provider="openai", model="gpt-4o-mini", input_tokens=1, output_tokens=0) == 150
    assert (
        nano(provider="anthropic", model="claude-opus-4", input_tokens=1_000, output_tokens=100)
        == 22_500_000
    )


def test_cached_tokens_are_charged_once_at_their_own_price() -> None:
    fields = {"provider": "openai", "model": "gpt-4o", "output_tokens": 0, "input_tokens": 1_000}
    assert nano(**fields, cached_input_tokens=400) == 600 * 2_500 + 400 * 1_250


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"provider": "openai", "model": "gpt-9"}, PRICE_UNKNOWN),
        ({"provider": "vllm", "model": "gpt-4o"}, PRICE_UNKNOWN),
        (
            {"provider": "together", "model": "llama-3.1-70b", "cached_input_tokens": 5},
            PRICE_UNKNOWN,
        ),
        (
            {"provider": "openai", "model": "gpt-4o", "output_tokens": None},
            TOKENS_UNKNOWN,
        ),
        (
            {"provider": "openai", "model": "gpt-4o", "status_code": 404, "input_tokens": None},
            0,
        ),
    ],
)
def test_unknown_is_not_zero_and_a_rejected_request_is_free(
    fields: dict[str, object], expected: int
) -> None:
    assert nano(**fields) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("prices: [{model: a, input: 0.1, output: '1'}]", "prices.0.input"),
        ("prices: [{model: a, input: '-1', output: '1'}]", "greater than or equal to 0"),
        (
            "prices: [{model: a, input: '1', output: '1'}, {model: a, input: '2', output: '1'}]",
            "two prices",
        ),
        ("prices: {", "not YAML"),
        ("prices: [{model: a, input: '1', output: '1', colour: red}]", "colour"),
    ],
)
def test_a_bad_price_book_says_which_file_which_entry_and_what(
    tmp_path: Path, text: str, said: str
) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(text)
    with pytest.raises(PriceBookError, match=said) as caught:
        load_price_book(path)
    assert str(path) in str(caught.value)


amounts = st.integers(0, 10**9)
prices = st.decimals(0, 10_000, allow_nan=False, places=7)


@given(
    st.lists(st.tuples(amounts | st.none(), amounts | st.none(), amounts | st.none()), min_size=1),
    st.sampled_from([3, 4, 5, 7]),
    prices,
    prices | st.none(),
    prices,
)
def test_columns_cost_what_each_request_costs_alone(
    tokens: list[tuple[int | None, int | None, int | None]],
    places: int,
    read: Decimal,
    cached: Decimal | None,
    written: Decimal,
) -> None:
    read, written = round(read, places), round(written, places)
    cached = None if cached is None else round(cached, places)
    price = Price(model="m", input=read, cached_input=cached, output=written)
    book = PriceBook(prices=(price,))
    rows = [(i, min(c, i) if c is not None and i is not None else None, o) for i, c, o in tokens]
    events = [
        event(model="m", input_tokens=i, cached_input_tokens=c, output_tokens=o) for i, c, o in rows
    ]
    costs = book.cost_columns(EventColumns.from_events(events)).tolist()
    for (i, c, o), found in zip(rows, costs, strict=True):
        alone = price.cost(i, c, o)
        if alone is None:
            assert found == (TOKENS_UNKNOWN if i is None or o is None else PRICE_UNKNOWN)
        else:
            assert found == int((alone * NANO).to_integral_value(ROUND_HALF_EVEN))
