"""The embedded store: ClickHouse's engine (chDB) behind ClickHouse's HTTP protocol."""

from tocsin.embedded.store.errors import (
    DirectoryHeldError,
    EngineError,
    StoreError,
    StoreStartError,
)
from tocsin.embedded.store.process import StoreAddress, StoreProcess

__all__ = [
    "DirectoryHeldError",
    "EngineError",
    "StoreAddress",
    "StoreError",
    "StoreProcess",
    "StoreStartError",
]
