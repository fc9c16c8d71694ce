"""The looks of a rollout, on the real engine with the real tables."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings
from serving.errors import LooksError
from serving.rollout.looks import StoreLooks
from serving.rollout.machine import Metric
from serving.rollout.sequential import Look
from tests.contract.conftest import STORE_PASSWORD
from tocsin.embedded.store import StoreAddress

SINCE_US = time.time_ns() // 1_000 - 600_000_000
UNTIL_US = SINCE_US + 10_000_000


@pytest.fixture
def tables(store: StoreAddress, database: str) -> Iterator[Client]:
    settings = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database=database
    )
    migrate(settings)
    with store_client(settings, database) as client:
        yield client


def insert(client: Client, rows: int, at_us: int, **columns: str) -> None:
    """Insert rows of expressions over `number`."""
    given = {
        "event_id": "generateUUIDv4()",
        "end_time": f"fromUnixTimestamp64Micro({at_us}, 'UTC')",
        "model": "'m'",
        "model_version": "'v1'",
        "route": "'stable'",
        "e2e_s": "1",
        "cost_usd": "0.01",
        **columns,
    }
    names, values = ", ".join(given), ", ".join(given.values())
    sql = f"INSERT INTO requests ({names}) SELECT {values} FROM numbers({rows})"  # noqa: S608
    client.command(sql)


def test_both_groups_by_what_they_were_drawn_for(tables: Client) -> None:
    insert(tables, 1_000, SINCE_US - 1, e2e_s="number / 1000", cost_usd="number / 1e5")
    insert(tables, 100, SINCE_US, e2e_s="if(number < 7, 5, 0.1)", failed="number >= 95")
    insert(tables, 20, SINCE_US, route="'fallback'", e2e_s="0.1", cost_usd="NULL")
    canary = {"route": "'canary'", "model_version": "'v2'"}
    insert(tables, 50, SINCE_US, **canary, e2e_s="0.1", cost_usd="if(number < 30, 1, 0.001)")
    insert(tables, 5, SINCE_US, **canary | {"model_version": "'v1'"}, e2e_s="5")  # rescued
    insert(tables, 3, SINCE_US, **canary, rejected="1")
    insert(tables, 2, SINCE_US, **canary, aborted="1")
    insert(tables, 9, UNTIL_US, **canary, failed="1")  # of the next look
    looks = StoreLooks(tables, model="m").look("v2", SINCE_US, UNTIL_US)
    assert looks == {
        Metric.ERRORS: Look(stable=120, stable_bad=25, canary=55, canary_bad=5),
        Metric.LATENCY: Look(stable=115, stable_bad=7, canary=55, canary_bad=5),
        Metric.COST: Look(stable=95, stable_bad=95, canary=55, canary_bad=35),
    }
    assert StoreLooks(tables, model="other").look("v2", SINCE_US, UNTIL_US) == {
        Metric.ERRORS: Look()
    }


def test_scores_of_the_judge(tables: Client) -> None:
    insert(tables, 400, SINCE_US - 1)
    insert(tables, 100, SINCE_US)
    insert(tables, 40, SINCE_US, route="'canary'", model_version="'v2'")
    tables.command("""
        INSERT INTO evals (eval_id, event_id, request_end, at, evaluator, score)
        SELECT generateUUIDv4(), event_id, end_time, end_time, 'judge',
               if(route = 'canary', 0.2, 0.5 + (cityHash64(event_id) % 100) / 200)
        FROM requests
        """)  # fmt: skip
    look = StoreLooks(tables).look("v2", SINCE_US, UNTIL_US)[Metric.QUALITY]
    assert (look.canary, look.canary_bad, look.stable) == (40, 40, 100)
    assert look.stable_bad < 30


def test_without_a_past_there_is_no_limit(tables: Client) -> None:
    insert(tables, 500, SINCE_US)
    looks = StoreLooks(tables).look("v2", SINCE_US, UNTIL_US)
    assert looks == {Metric.ERRORS: Look(stable=500)}


def test_a_store_that_cannot_answer_is_told_in_words(tables: Client) -> None:
    insert(tables, 500, SINCE_US - 1)
    tables.command("DROP TABLE evals")
    with pytest.raises(LooksError, match=r"the store does not answer: .*evals"):
        StoreLooks(tables).look("v2", SINCE_US, UNTIL_US)
