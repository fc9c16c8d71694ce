"""The flags that the gateway obeys: what they say, and what holds without them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from schemas.flag import FlagKey
from serving.flags.initial import initial_document
from serving.flags.reader import FlagReader
from serving.flags.store import FlagStore
from serving.gateway.first_flags import PERCENTS, first_flags, with_gateway_flags
from serving.gateway.in_force import FlagWatch, InForce, read_flags
from tests.support.gateway import add_flag
from tests.unit.serving.gateway.test_route import FILE


def read(store: FlagStore, last: InForce | None = None) -> InForce:
    with FlagReader(store.path, poll_s=0.05) as flags:
        return read_flags(flags, last or InForce())


@pytest.fixture
def store(tmp_path: Path) -> FlagStore:
    store = FlagStore(tmp_path / "flags.json")
    store.create(initial_document(providers=["a", "b"], versions=["v1", "v2"], at_us=1))
    return store


def test_without_a_file_the_defaults_hold(tmp_path: Path) -> None:
    assert read(FlagStore(tmp_path / "none.json")) == InForce()


def test_flags_of_before_there_was_a_gateway(store: FlagStore) -> None:
    assert read(store) == InForce(provider="a", version="v1")


def test_the_strategy_canary_is_five_percent_unless_a_flag_says_more(store: FlagStore) -> None:
    store.set_variant(FlagKey.ROUTING_STRATEGY, "canary", by="t", reason="", at_us=2)
    assert read(store).canary_percent == 5
    add_flag(store, FlagKey.CANARY_PERCENT, {"0": "0"})
    assert read(store).canary_percent == 0


@pytest.mark.parametrize("text", ["many", "-1", "101", "nan", "inf", ""])
def test_a_share_that_is_none_stays_as_it_was(store: FlagStore, text: str) -> None:
    add_flag(store, FlagKey.CANARY_PERCENT, {"x": text})
    assert read(store, InForce(canary_percent=25)).canary_percent == 25


def test_the_first_flags_come_from_the_file(tmp_path: Path) -> None:
    store = FlagStore(tmp_path / "flags.json")
    limits = {"normal": (), "tight": ()}
    store.create(first_flags(FILE.model_copy(update={"limits": limits}), at_us=1))
    assert read(store) == InForce(provider="a", version="v1", limits="normal")
    document = store.read()
    assert document.flag(FlagKey.MODEL_PROVIDER).chain == ("a", "b", "c")
    assert document.flag(FlagKey.RATE_LIMIT_PROFILE).chain == ("normal", "tight")
    assert set(document.flag(FlagKey.CANARY_PERCENT).variants) == set(PERCENTS)
    assert set(document.flag(FlagKey.CANARY_VERSION).variants) == {"none", "v1", "v2", "x", "y"}
    assert "complexity" in document.flag(FlagKey.ROUTING_STRATEGY).variants
    assert all(flag.history for flag in document.flags.values())


def test_flags_that_are_there_are_left_alone(store: FlagStore) -> None:
    add_flag(store, FlagKey.CANARY_PERCENT, {"mine": "7"})
    store.update(lambda d: with_gateway_flags(d, limits=[], at_us=2))
    document = store.read()
    assert document.flag(FlagKey.CANARY_PERCENT).value == "7"
    assert FlagKey.FALLBACK_ENABLED in document.flags
    assert FlagKey.RATE_LIMIT_PROFILE not in document.flags
    assert store.update(lambda d: with_gateway_flags(d, limits=[], at_us=3)).digest


async def test_a_change_is_told_once(store: FlagStore) -> None:
    told: list[InForce] = []
    with FlagReader(store.path, poll_s=0.05) as reader:
        watch = FlagWatch(reader, poll_s=0.02, changed=told.append)
        watch.look()
        running = asyncio.create_task(watch.run())
        store.set_variant(FlagKey.MODEL_VERSION, "v2", by="t", reason="", at_us=2)
        while watch.now.version != "v2":  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.1)
        running.cancel()
    assert [flags.version for flags in told] == ["v1", "v2"]
