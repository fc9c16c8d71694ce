"""How to reach ClickHouse, or the embedded store."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr

from schemas.settings.section import Port, PositiveSeconds, Section

__all__ = ["ClickHouseSettings"]


class ClickHouseSettings(Section):
    """How to reach the store, always over ClickHouse's HTTP protocol."""

    host: str = "127.0.0.1"
    port: Port = 8123
    username: str = "default"
    password: SecretStr = SecretStr("")
    database: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")] = "tocsin"
    secure: bool = False
    insert_timeout_s: PositiveSeconds = 30
