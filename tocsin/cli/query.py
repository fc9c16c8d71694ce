"""``tocsin query``: ask the store."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tocsin.cli.console import (
    console,
    errors_told,
    libraries_silent,
    settings_for_command,
    told,
)

__all__ = ["QueryFormat", "query"]


class QueryFormat(StrEnum):
    """How an answer is printed."""

    TABLE = "table"
    CSV = "CSVWithNames"
    JSON = "JSONEachRow"


def query(
    sql: Annotated[str, typer.Argument(help="a ClickHouse query", metavar="SQL")],
    output: Annotated[
        QueryFormat, typer.Option("--format", "-f", help="how to print the answer")
    ] = QueryFormat.TABLE,
) -> None:
    """Ask the store in ClickHouse's SQL, with database tocsin as the default.

    Example: tocsin query "SELECT model_version, count() FROM requests GROUP BY 1"
    """
    from clickhouse_connect.driver.exceptions import ClickHouseError

    from schemas.clickhouse.migrate import store_client

    with errors_told(), libraries_silent():
        settings = settings_for_command()
        try:
            client = store_client(settings.clickhouse, settings.clickhouse.database)
            if output is QueryFormat.TABLE:
                result = client.query(sql)
                _print_table(result.column_names, result.result_rows)
            else:
                typer.echo(client.raw_query(sql, fmt=output.value).decode(), nl=False)
        except (ClickHouseError, OSError) as error:
            store = settings.clickhouse
            if getattr(error, "code", None):  # ClickHouse's own code: it is there
                told(str(error))
            else:
                told(
                    f"no store answers at {store.host}:{store.port}. `tocsin up` starts one and "
                    "prints its port;\nTOCSIN_CLICKHOUSE__HOST and TOCSIN_CLICKHOUSE__PORT say "
                    "where to ask."
                )
            raise typer.Exit(2) from None


def _print_table(names: tuple[str, ...], rows: list[tuple[object, ...]]) -> None:
    table = Table(*names, header_style="bold")
    for row in rows:
        # Text, not markup: values come from requests.
        table.add_row(*("" if value is None else Text(str(value)) for value in row))
    console.print(table)
    console.print(f"{len(rows)} rows", style="dim")
