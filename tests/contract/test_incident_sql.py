"""The queries that pages offer, on the real engine with the real tables."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
from clickhouse_connect.driver.client import Client

from alerting.sql import incident_sql
from schemas.clickhouse.migrate import migrate, store_client
from schemas.settings import ClickHouseSettings
from schemas.signal import SIGNALS, SignalName
from tests.contract.conftest import STORE_PASSWORD
from tocsin.embedded.store import StoreAddress

AT_US = time.time_ns() // 1_000  # rows that are older than their table's TTL vanish
MODEL = "l'la\\ma\n; DROP TABLE requests --"
LABELS = {"provider": "vllm", "model": MODEL, "model_version": "v2", "feature": ""}

ENGINE = (
    SignalName.GPU_UTILIZATION,
    SignalName.KV_CACHE_USAGE,
    SignalName.WAITING_REQUESTS,
    SignalName.PREFIX_CACHE_HIT_RATE,
    SignalName.SPEC_DECODE_ACCEPTANCE_RATE,
    SignalName.ENGINE_SAMPLE_COUNT,
)


@pytest.fixture
def tables(store: StoreAddress, database: str) -> Iterator[Client]:
    settings = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database=database
    )
    migrate(settings)
    with store_client(settings, database) as client:
        yield client


def test_the_query_of_every_signal_runs_and_finds_only_its_series(tables: Client) -> None:
    tables.command("""
        INSERT INTO requests (event_id, end_time, provider, model, model_version, feature, e2e_s,
                              ttft_s, tpot_s, input_tokens, output_tokens, failed, error_type)
        SELECT generateUUIDv4(), fromUnixTimestamp64Micro({at:Int64}, 'UTC') - number % 20,
               'vllm', if(number < 80, {model:String}, 'other'), 'v2', NULL, 1, 0.5, 0.01,
               100, 10, number < 20, if(number < 20, 'engine_dead', NULL)
        FROM numbers(100)
        """, parameters={"model": MODEL, "at": AT_US})  # fmt: skip
    for signal in SIGNALS:
        rows = tables.query(incident_sql(signal, LABELS, AT_US, 300))
        if signal in (
            SignalName.QUALITY_SCORE,
            SignalName.SCORE_COUNT,
            SignalName.FEEDBACK_POSITIVE_RATE,
            SignalName.WATERMARK_LAG,
            *ENGINE,
        ):
            assert rows.result_rows == []
            continue
        requests = rows.column_names.index("requests")
        assert sum(row[requests] for row in rows.result_rows) == 80, signal
    rows = tables.query(incident_sql(SignalName.ERROR_RATE, LABELS, AT_US, 300))
    named = [dict(zip(rows.column_names, row, strict=True)) for row in rows.result_rows]
    assert sum(row["errors"] for row in named) == 20
    assert {name for row in named for name in row["error_types"]} == {"engine_dead"}


def test_the_query_of_an_engine_finds_its_samples_alone(tables: Client) -> None:
    tables.command("""
        INSERT INTO engine_samples (server, engine_index, at, model, running_requests,
                                    waiting_requests, gpu_utilization)
        SELECT if(number % 2 = 0, 'gpu-1', 'gpu-2'), 0,
               fromUnixTimestamp64Micro({at:Int64}, 'UTC') - number, {model:String},
               1, number, if(number % 2 = 0, 0.97, 0.5)
        FROM numbers(20)
        """, parameters={"model": MODEL, "at": AT_US})  # fmt: skip
    labels = {"server": "gpu-1", "engine_index": "0", "model": MODEL}
    for signal in ENGINE:
        rows = tables.query(incident_sql(signal, labels, AT_US, 300))
        named = [dict(zip(rows.column_names, row, strict=True)) for row in rows.result_rows]
        assert sum(row["samples"] for row in named) == 10
        assert {row["gpu"] for row in named} == {0.97}
        assert {row["acceptance"] for row in named} == {None}
