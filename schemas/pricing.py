"""What a request cost: exact decimals, and an unknown price stays unknown.

Prices are USD per million tokens, as decimal strings in a YAML price book. Costs are whole
nano-dollars (1e-9 USD): a price with up to three decimals is exact for a single token.
"""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Decimal
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final, Self

import numpy as np
import yaml
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from schemas.columns import PRICE_UNKNOWN, TOKENS_UNKNOWN, EventColumns
from schemas.errors import TocsinError

__all__ = ["NANO", "Price", "PriceBook", "PriceBookError", "load_price_book"]

NANO: Final = 1_000_000_000


class PriceBookError(TocsinError):
    """The price book cannot be used; the text names file, entry and what was expected."""


class Price(BaseModel):
    """One model's price; ``provider`` None holds for every provider.

    Without ``cached_input`` the price of cached tokens is unknown, and so is the cost of a request
    that used some.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: Annotated[str, Field(min_length=1)]
    provider: str | None = None
    input: Annotated[Decimal, Field(ge=0, le=10_000)]
    output: Annotated[Decimal, Field(ge=0, le=10_000)]
    cached_input: Annotated[Decimal, Field(ge=0, le=10_000)] | None = None
    note: str = ""

    @field_validator("input", "output", "cached_input", mode="before")
    @classmethod
    def _exact(cls, value: object) -> object:
        if isinstance(value, float):  # 0.1 is not a tenth once YAML made a float of it
            raise ValueError(  # noqa: TRY004 - pydantic turns ValueErrors into its own
                "write the price as a quoted decimal, such as '0.10'"
            )
        return value

    def cost(
        self, input_tokens: int | None, cached_tokens: int | None, output_tokens: int | None
    ) -> Decimal | None:
        """Return USD for one request, None when a part of it is unknown.

        ``input_tokens`` includes the cached ones, which are charged once, at their own price.
        """
        if input_tokens is None or output_tokens is None:
            return None
        cached = cached_tokens or 0
        if cached and self.cached_input is None:
            return None
        dollars = (
            self.input * (input_tokens - cached)
            + (self.cached_input or Decimal(0)) * cached
            + self.output * output_tokens
        )
        return dollars / 1_000_000


class PriceBook(BaseModel):
    """All prices known; the exact (provider, model) wins over a model for every provider."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: Annotated[str, Field(pattern="^USD$")] = "USD"
    prices: tuple[Price, ...]

    @model_validator(mode="after")
    def _unique(self) -> Self:
        seen: set[tuple[str | None, str]] = set()
        for price in self.prices:
            key = (price.provider, price.model)
            if key in seen:
                raise ValueError(f"two prices for provider {price.provider}, model {price.model}")
            seen.add(key)
        return self

    def find(self, provider: str, model: str) -> Price | None:
        """Return the price in force, None when there is none."""
        index = _index(self.prices)
        return index.get((provider, model)) or index.get((None, model))

    def cost_columns(self, columns: EventColumns) -> NDArray[np.int64]:
        """Return each event's cost in nano-dollars, below 0 where unknown (see EventColumns).

        A rejected request (4xx) never reached the model and costs nothing. Any other request whose
        tokens were not told has an unknown cost.
        """
        provider, providers = columns.codes("provider")
        model, models = columns.codes("model")
        tokens = (
            columns.floats("input_tokens"),
            columns.floats("cached_input_tokens"),
            columns.floats("output_tokens"),
        )
        costs = np.full(len(columns), PRICE_UNKNOWN, np.int64)
        pairs = provider * len(models) + model
        for pair in np.unique(pairs).tolist():
            price = self.find(providers[pair // len(models)], models[pair % len(models)])
            if price is not None:
                rows = np.flatnonzero(pairs == pair)
                costs[rows] = _nano(price, *(column[rows] for column in tokens))
        costs[columns.rejected] = 0
        return costs


def _nano(
    price: Price,
    read: NDArray[np.float64],
    cached: NDArray[np.float64],
    written: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return what requests at one price cost, exactly; tokens are NaN where unknown."""
    unknown = np.isnan(read) | np.isnan(written)
    from_cache = np.nan_to_num(cached).astype(np.int64)
    fresh = np.nan_to_num(read).astype(np.int64) - from_cache
    answered = np.nan_to_num(written).astype(np.int64)
    rates = (price.input, price.cached_input or Decimal(0), price.output)
    counts = (fresh, from_cache, answered)
    scale = next((s for s in _SCALES if all(not r * 1_000 * s % 1 for r in rates)), None)
    if scale is None:
        rows = zip(from_cache + fresh, from_cache, answered, strict=True)
        costs = np.array([_rounded(price.cost(*map(int, row))) for row in rows], np.int64)
    else:
        # At most 1e9 tokens at 1e7 nano-dollars each, by the schemas' bounds: far inside int64.
        exact = sum(int(r * 1_000 * scale) * c for r, c in zip(rates, counts, strict=True))
        whole, rest = np.divmod(exact, scale)
        half = 2 * rest
        costs = whole + ((half > scale) | ((half == scale) & (whole % 2 == 1)))
    if price.cached_input is None:
        costs[from_cache > 0] = PRICE_UNKNOWN
    costs[unknown] = TOKENS_UNKNOWN
    return costs


_SCALES: Final = (1, 10, 100)
"""By which whole numbers prices of up to five decimals are multiplied to compute in integers."""


def _rounded(dollars: Decimal | None) -> int:
    if dollars is None:
        return PRICE_UNKNOWN
    return int((dollars * NANO).to_integral_value(ROUND_HALF_EVEN))


@lru_cache(maxsize=8)
def _index(prices: tuple[Price, ...]) -> dict[tuple[str | None, str], Price]:
    return {(price.provider, price.model): price for price in prices}


def load_price_book(path: Path | None = None) -> PriceBook:
    """Read a price book, the shipped one without a path.

    Raises:
        PriceBookError: naming the file, the entry and what was expected.
    """
    name = str(path or "schemas/prices.yaml")
    try:
        text = path.read_text() if path else files("schemas").joinpath("prices.yaml").read_text()
        return PriceBook.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise PriceBookError(f"{name}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise PriceBookError(f"{name}: not YAML: {error}") from None
    except ValidationError as error:
        lines = [
            f"{name}: {'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
        ]
        raise PriceBookError("\n".join(lines)) from None
