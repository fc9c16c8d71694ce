"""One query on the engine, from its connection to its counters. Blocking: runs on a thread.

The steps are called one after the other by the HTTP side, each on some worker thread.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from io import BytesIO
from typing import IO

from tocsin.embedded.store.connection import (
    EngineConnection,
    EngineStream,
    Summary,
)
from tocsin.embedded.store.engine import Engine
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import ExternalTable, QueryRequest
from tocsin.embedded.store.sessions import SessionRegistry
from tocsin.embedded.store.spool import Spool
from tocsin.embedded.store.statement import (
    InsertData,
    first_word,
    insert_from_file,
    into_file,
    output_format,
    reads_file,
    writes_file,
)
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["Exchange"]

# The engine encodes each block by itself; only in these formats are the pieces, put end to end,
# the format again. Every other one (JSON, Arrow, ...WithNames) has a head or a foot of its own.
_CONCATENATE = frozenset(
    (
        *("Native", "RowBinary", "TabSeparated", "TSV", "TabSeparatedRaw", "TSVRaw", "CSV"),
        *("JSONEachRow", "JSONLines", "NDJSON", "JSONCompactEachRow", "LineAsString"),
    )
)
# What makes the disk fuller; ALTER, DROP, TRUNCATE and DELETE may be what makes room.
_FILLING = frozenset(("INSERT", "WITH", "CREATE"))
_DEFAULT_FORMAT = "TabSeparated"
_PIECE = 1 << 20


@dataclass(slots=True)
class _Restore:
    """What a session had before a request's own settings."""

    database: str
    settings: Mapping[str, str]


class Exchange:
    """The life of one query; `close` must be called whatever happened before."""

    def __init__(self, engine: Engine, sessions: SessionRegistry, request: QueryRequest) -> None:
        self._engine = engine
        self._sessions = sessions
        self._request = request
        self._connection: EngineConnection | None = None
        self._restore: _Restore | None = None
        self._stream: EngineStream | None = None
        self._insert: InsertData | None = None
        self._rows: Spool | None = None
        self._whole: IO[bytes] | None = None
        self.format = request.default_format or _DEFAULT_FORMAT
        self.summary = Summary()

    def open(self) -> None:
        """Get a connection and apply the request's database, settings and external tables.

        Raises:
            EngineError: see the codes of sessions, settings and databases.
        """
        request = self._request
        if request.session is None:
            connection = self._connection = self._engine.connect()
        else:
            connection = self._connection = self._sessions.take(request.session)
            if request.settings or request.database:
                self._restore = _Restore(*connection.remember(request.settings))
        if request.database:
            connection.use(request.database)
        connection.set(request.settings)
        for table in request.external:
            self._load(connection, table)

    def start(self, text: bytes) -> None:
        """Start a query that brings no rows with it.

        Raises:
            EngineError: it does not parse, is more than one statement, would change something
                over GET (164), or the engine refused it.
        """
        connection = self._opened()
        kind = _class_of(connection, text)
        word = first_word(text)
        # What a readonly ClickHouse lets through: reading, and SET or USE within the session.
        if kind == "MUTATING" or (kind == "CONTROL" and word not in {"SET", "USE"}):
            self._check_may_change()
        if writes_file(text):
            raise EngineError(
                ErrorCode.INTO_OUTFILE_NOT_ALLOWED,
                "INTO OUTFILE is not allowed. (INTO_OUTFILE_NOT_ALLOWED)",
            )
        _check_reads_no_file(text)
        self.format = output_format(text) or self.format
        params = self._request.params
        selects = word in {"SELECT", "WITH"} and kind == "READ_ONLY"
        if selects and self.format in _CONCATENATE:
            self._stream = connection.stream(text, self.format, params)
        elif selects:
            # Held in memory, such a result would take several times its size: 2 GB for 425 MB.
            self._whole, self.summary = self._to_file(connection, text)
        else:
            if word in _FILLING:
                self._engine.check_space()
            changes = kind == "MUTATING"
            with self._engine.damage.guard(connection) if changes else nullcontext():
                result = connection.run(text, self.format, params)
            self._whole, self.summary = BytesIO(result.data), result.summary

    def fetch(self) -> bytes:
        """Give the next piece of the result; empty at its end.

        Raises:
            EngineError: the query failed while it ran.
        """
        if self._stream is not None:
            piece = self._stream.fetch()
            self.summary = self._stream.summary
            return piece
        return self._whole.read(_PIECE) if self._whole is not None else b""

    def start_insert(self, parts: InsertData) -> None:
        """Start an INSERT whose rows `feed` will bring.

        Raises:
            EngineError: over GET (164), with input() (48), from a file of this machine (78).
        """
        self._check_may_change()
        if parts.from_input:
            raise EngineError(
                ErrorCode.NOT_IMPLEMENTED,
                "INSERT ... SELECT ... FROM input() is not supported by the embedded store. "
                "(NOT_IMPLEMENTED)",
            )
        _check_reads_no_file(parts.head)
        self._insert, self._rows = parts, self._engine.spool()

    def feed(self, data: bytes) -> None:
        """Take in rows, cut anywhere. Raises: EngineError."""
        if self._rows is not None:
            self._rows.append(data)

    def finish_insert(self) -> None:
        """Write the rows, now that all of them are there.

        Raises:
            EngineError: they could not be read, or not all be written.
        """
        if self._insert is not None and self._rows is not None:
            connection = self._opened()
            query = insert_from_file(self._insert, self._rows.path)
            _class_of(connection, query)
            with self._engine.damage.guard(connection):
                self.summary = connection.insert(query, self._request.params)

    def close(self) -> None:
        """Stop what still runs and give the connection back, as it was for a session."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        if self._whole is not None:
            self._whole.close()
        if self._stream is not None:
            self._stream.cancel()
        if self._rows is not None:
            self._rows.close()
        session = self._request.session
        if session is None:
            connection.close()
            return
        try:
            for table in self._request.external:
                connection.drop_temporary(table.name)
            if self._restore is not None:
                connection.set(self._restore.settings)
                if self._request.database:
                    connection.use(self._restore.database)
        finally:
            self._sessions.give_back(session)

    def _load(self, connection: EngineConnection, table: ExternalTable) -> None:
        connection.create_temporary(table.name, table.structure)
        parts = InsertData(f"INSERT INTO {table.name}".encode(), table.format, 0, from_input=False)
        rows = self._engine.spool()
        try:
            rows.append(table.data)
            connection.insert(insert_from_file(parts, rows.path), {})
        finally:
            rows.close()

    def _to_file(self, connection: EngineConnection, text: bytes) -> tuple[IO[bytes], Summary]:
        target = self._engine.scratch_file()
        try:
            query = into_file(text, str(target), self.format)
            self._engine.check_space()
            with self._engine.damage.guard(connection):
                result = connection.run(query, "Null", self._request.params)
            # The name goes at once, the bytes when the answer has been sent or the process ends.
            return target.open("rb"), result.summary
        finally:
            target.unlink(missing_ok=True)

    def _opened(self) -> EngineConnection:
        if self._connection is None:
            raise EngineError(ErrorCode.ABORTED, "the query has been closed. (ABORTED)")
        return self._connection

    def _check_may_change(self) -> None:
        if not self._request.may_change:
            raise EngineError(
                ErrorCode.READONLY,
                f"{self._request.query_id}: Cannot execute query in readonly mode. For queries "
                "over HTTP, method GET implies readonly. You should use method POST for "
                "modifying queries. (READONLY)",
            )


def _class_of(connection: EngineConnection, text: bytes) -> str:
    statements, kind = connection.classify(text)
    if statements > 1:
        raise EngineError(
            ErrorCode.SYNTAX_ERROR,
            "Syntax error (Multi-statements are not allowed). (SYNTAX_ERROR)",
        )
    return kind


def _check_reads_no_file(text: bytes) -> None:
    if reads_file(text):
        raise EngineError(
            ErrorCode.UNKNOWN_TYPE_OF_QUERY,
            "FROM INFILE is read by clients, not over HTTP. (UNKNOWN_TYPE_OF_QUERY)",
        )
