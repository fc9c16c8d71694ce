"""Which labels carry a change, asked of the real engine over real rows."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from alerting.intent import NotificationIntent
from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings
from schemas.signal import SignalName
from streams.explain import Explainer
from streams.store import Store
from tests.contract.conftest import STORE_PASSWORD
from tests.support.events import NOW_US
from tests.support.intents import intent_of
from tocsin.embedded.store import StoreAddress

MINUTE_US = 60_000_000


@pytest.fixture(scope="module")
def filled(store: StoreAddress) -> ClickHouseSettings:
    settings = ClickHouseSettings(
        host=store.host,
        port=store.port,
        password=SecretStr(STORE_PASSWORD),
        database=f"e_{uuid.uuid4().hex[:12]}",
    )
    migrate(settings)
    made = rows()
    with store_client(settings, settings.database) as client:
        client.insert(
            "requests", list(made.values()), column_names=list(made), column_oriented=True
        )
    return settings


@pytest.fixture
def asked(filled: ClickHouseSettings) -> Iterator[Store]:
    made = Store(filled)
    yield made
    made.close()


def rows() -> dict[str, list[Any]]:
    """Return 20 minutes of two versions on three servers; in the last five, v2 on s2 is bad."""
    rng = random.Random(3)
    made: dict[str, list[Any]] = {}
    for number in range(12_000):
        at_us = NOW_US - 20 * MINUTE_US + number * 20 * MINUTE_US // 12_000
        late = at_us > NOW_US - 5 * MINUTE_US
        version, server = rng.choice(["v1", "v1", "v2"]), rng.choice(["s1", "s2", "s3"])
        bad = late and version == "v2"
        row = {
            "event_id": str(uuid.UUID(int=number)),
            "request_id": f"r-{number}",
            "start_time": at_us,
            "end_time": at_us,
            "server": server,
            "provider": "vllm",
            "model": "m",
            "model_version": version,
            "operation": "chat",
            "route": "/v1",
            "feature": rng.choice(["chat", None]),
            "status_code": 200,
            "failed": bad and rng.random() < 0.4,
            "e2e_s": rng.lognormvariate(0, 0.3) * (4 if late and server == "s2" else 1),
            "cost_usd": 0.02 if late and version == "v1" else 0.001,
        }
        for name, value in row.items():
            made.setdefault(name, []).append(value)
    return made


def incident(signal: SignalName, **changes: Any) -> NotificationIntent:
    labels = changes.pop("labels", {"model": "m", "model_version": "v2"})
    return intent_of(signal=signal.value, labels=labels, over_s=300, **changes)


async def test_the_version_that_fails_is_named_though_the_series_is_its_own(asked: Store) -> None:
    shares = await Explainer(asked).shares(incident(SignalName.ERROR_RATE))
    first = shares[0]
    assert (first.label, first.value) == ("model_version", "v2")
    assert first.share == pytest.approx(1, abs=0.05)
    assert first.traffic == pytest.approx(1 / 3, abs=0.05)
    assert first.before == 0
    assert first.now == pytest.approx(0.4, abs=0.05)
    assert {share.label for share in shares} == {"model_version"}


@pytest.mark.parametrize(
    "signal", [SignalName.E2E_P95, SignalName.E2E_P95_RATIO], ids=lambda s: s.value
)
async def test_the_server_that_is_slow_is_named(asked: Store, signal: SignalName) -> None:
    shares = await Explainer(asked).shares(incident(signal))
    assert (shares[0].label, shares[0].value) == ("server", "s2")
    assert shares[0].share > 0.9
    assert (shares[0].before, shares[0].now) == (None, None)


async def test_who_costs_more_is_named(asked: Store) -> None:
    shares = await Explainer(asked).shares(incident(SignalName.COST_RATE_RATIO))
    assert (shares[0].label, shares[0].value) == ("model_version", "v1")


@pytest.mark.parametrize("signal", list(SignalName))
async def test_every_signal_has_an_answer_or_none(asked: Store, signal: SignalName) -> None:
    for labels in ({"model": "m"}, {"feature": "it's"}, {"model": "nobody's"}, {}):
        assert isinstance(await Explainer(asked).shares(incident(signal, labels=labels)), tuple)


async def test_what_is_no_signal_asks_nothing() -> None:
    class Nothing:
        async def query(self, sql: str, parameters: Any = None) -> list[tuple[Any, ...]]:
            raise AssertionError(sql)

    assert await Explainer(Nothing()).shares(intent_of(signal="delivery")) == ()
