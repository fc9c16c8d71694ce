"""ClickHouse's engine in this process: one database directory, a connection for each query.

chDB allows many connections to one directory, each with settings, parameters, a current database
and temporary tables of its own, and runs them in parallel on threads (docs/adr/0002). Opening one
costs about half a millisecond, so a query without a session simply gets a fresh one: nothing that
it sets can reach the next. A connection is used by one thread at a time.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tocsin.embedded.store.connection import EngineConnection
from tocsin.embedded.store.damage import DamageWatch
from tocsin.embedded.store.disk import Disk
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.spool import Spool

__all__ = ["Engine"]

# clickhouse-local differs from clickhouse-server in these defaults; a client must not notice.
_SERVER_DEFAULTS = {"implicit_select": "0", "allow_introspection_functions": "0"}


class Engine:
    """The process's only database; `path` must be locked by the caller.

    Args:
        path: data directory, created when absent.
        server_options: ClickHouse server settings, such as `max_server_memory_usage` (bytes).
        query_settings: settings every connection starts with, such as `max_memory_usage`.
    """

    def __init__(
        self,
        path: Path,
        server_options: Mapping[str, str] | None = None,
        query_settings: Mapping[str, str] | None = None,
    ) -> None:
        # Imported late: loading the engine's library takes half a second and 200 MiB.
        from chdb import _chdb  # noqa: PLC0415

        self._module: Any = _chdb
        self._scratch = path / "results"
        shutil.rmtree(self._scratch, ignore_errors=True)
        self._scratch.mkdir(parents=True)
        options = "&".join(f"{name}={quote(v)}" for name, v in (server_options or {}).items())
        self._address = f"{path}?{options}" if options else str(path)
        self._settings = {**_SERVER_DEFAULTS, **(query_settings or {})}
        # The engine lives as long as one connection does.
        self._anchor = self._connect()
        row = self._anchor.run(b"SELECT version(), timezone(), hostName()", "TabSeparated", {})
        self._disk = Disk(self._scratch)
        self.damage = DamageWatch(self._connect, self._disk)
        self.version, self.timezone, self.host_name = row.data.decode().rstrip("\n").split("\t")

    def connect(self) -> EngineConnection:
        """Open a connection with the engine's standing settings."""
        return self._connect()

    def scratch_file(self) -> Path:
        """Give the name of a file that does not exist yet; what a crash leaves goes at start."""
        return self._scratch / uuid.uuid4().hex

    def spool(self) -> Spool:
        """Open a place for the rows of an INSERT. Raises: EngineError."""
        return Spool(self._scratch, self._disk)

    def check_space(self) -> None:
        """Refuse to write more when the disk is nearly full. Raises: EngineError (243)."""
        self._disk.check()

    def interrupt(self) -> None:
        """Ask every running query to stop; they fail with code 394."""
        connection = self._connect()
        try:
            connection.run(b"KILL QUERY WHERE 1 ASYNC", "Null", {})
        finally:
            connection.close()

    def close(self) -> None:
        """Close the engine; every other connection must be closed before."""
        self.damage.close()
        self._anchor.close()

    def _connect(self) -> EngineConnection:
        try:
            handle = self._module.connect(self._address)
        except RuntimeError as error:
            raise EngineError.from_engine(str(error)) from error
        connection = EngineConnection(handle)
        connection.set(self._settings)
        return connection
