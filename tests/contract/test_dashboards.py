"""Every panel's query runs against the real engine, on the real schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from clickhouse_connect.driver.client import Client
from prometheus_client import REGISTRY

from schemas.clickhouse.migrate import migrate
from schemas.settings import ClickHouseSettings
from streams import metrics
from tests.contract.conftest import STORE_PASSWORD, connect
from tocsin.embedded.store import StoreAddress

ROOT = Path(__file__).parents[2]
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in ROOT.glob("dashboards/*.json")}
SOURCES = {"grafana-clickhouse-datasource": "clickhouse", "prometheus": "prometheus"}
MACROS = {
    r"\$__timeFilter\((\w+)\)": r"\1 BETWEEN now() - INTERVAL 1 HOUR AND now()",
    r"\$__timeInterval\((\w+)\)": r"toStartOfInterval(toDateTime(\1), INTERVAL 10 second)",
    r"\$__interval_s\b": "10",
    r"\$\{model:singlequote\}": "'llama','gpt'",
}


def targets() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield name, panel["title"], target
        for annotation in dashboard["annotations"]["list"]:
            yield name, annotation["name"], annotation["target"]
        for variable in dashboard["templating"]["list"]:
            yield name, variable["name"], {"rawSql": variable["query"], "format": 1}


def params(kind: str) -> list[Any]:
    return [
        pytest.param(target, id=f"{name}: {title}")
        for name, title, target in targets()
        if kind in target
    ]


@pytest.fixture(scope="module")
def migrated(store: StoreAddress) -> Iterator[Client]:
    settings = ClickHouseSettings(
        host=store.host, port=store.port, password=STORE_PASSWORD, database="dashboards"
    )
    migrate(settings)
    with connect(store, database="dashboards") as client:
        yield client
        client.command("DROP DATABASE dashboards SYNC")


@pytest.mark.parametrize("target", params("rawSql"))
def test_the_engine_takes_the_query(migrated: Client, target: dict[str, Any]) -> None:
    query = target["rawSql"]
    for macro, meaning in MACROS.items():
        query = re.sub(macro, meaning, query)
    assert "$" not in query, "a macro that this test does not know"
    columns = dict(row[:2] for row in migrated.query(f"DESCRIBE ({query})").result_rows)
    migrated.query(query)
    if target["format"] == 0:
        assert columns["time"].startswith("DateTime")
        assert any(re.search("Float|Int|Decimal", kind) for kind in columns.values())


@pytest.mark.parametrize("target", params("expr"))
def test_prometheus_is_asked_for_what_tocsin_exposes(target: dict[str, Any]) -> None:
    assert metrics.__all__
    exposed = {sample.name for family in REGISTRY.collect() for sample in family.samples} | {
        name + suffix
        for family in REGISTRY.collect()
        for name in [family.name]
        for suffix in ("", "_total", "_bucket", "_count", "_sum")
    }
    asked = set(re.findall(r"\btocsin_\w+", target["expr"]))
    assert asked
    assert asked <= exposed


@pytest.mark.parametrize("name", sorted(DASHBOARDS))
def test_a_dashboard_stands_on_the_provisioned_sources(name: str) -> None:
    dashboard = DASHBOARDS[name]
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(ids) == len(set(ids))
    for panel in dashboard["panels"]:
        assert SOURCES[panel["datasource"]["type"]] == panel["datasource"]["uid"]
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
