"""A connection to the engine, and what runs on it: a query, a streamed result, an INSERT."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["EngineConnection", "EngineResult", "EngineStream", "Summary"]

# What the engine adds for rows that it reads from a file: a client sent them, and knows of no file.
_FILE = re.compile(
    r": \(in file/uri [^()]*\)|(?:: While executing File)?: data for INSERT was parsed from file"
)
_SAID_TWICE = re.compile(r"\. \((\w+)\) \(version [^()]*\)(?=\. \(\1\)$)")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a query read and wrote, in ClickHouse's own counters; times in nanoseconds."""

    read_rows: int = 0
    read_bytes: int = 0
    written_rows: int = 0
    written_bytes: int = 0
    result_rows: int = 0
    result_bytes: int = 0
    elapsed_ns: int = 0


@dataclass(frozen=True, slots=True)
class EngineResult:
    """A finished result: its bytes in the output format, and the counters."""

    data: bytes
    summary: Summary


class EngineConnection:
    """One connection: its own settings, current database and temporary tables."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def set(self, settings: Mapping[str, str]) -> None:
        """Apply settings (or `param_x` parameters) to this connection.

        Raises:
            EngineError: unknown setting (115) or a value it does not accept.
        """
        if settings:
            pairs = ", ".join(f"{_identifier(k)} = {_literal(v)}" for k, v in settings.items())
            self.run(f"SET {pairs}".encode(), "TabSeparated", {})

    def use(self, database: str) -> None:
        """Make `database` the current one; code 81 when it does not exist."""
        self.run(f"USE {_backquoted(database)}".encode(), "TabSeparated", {})

    def remember(self, names: Mapping[str, str]) -> tuple[str, dict[str, str]]:
        """Give the current database and the present values of the named settings."""
        fields = ["currentDatabase()", *(f"toString(getSetting({_literal(n)}))" for n in names)]
        reply = self.run(f"SELECT [{', '.join(fields)}]".encode(), "JSONCompact", {})
        database, *values = json.loads(reply.data)["data"][0][0]
        return database, dict(zip(names, values, strict=True))

    def classify(self, query: bytes) -> tuple[int, str]:
        """Give the number of statements and the engine's class of them (READ_ONLY, MUTATING ...).

        A text that does not parse counts as none, of class UNKNOWN.
        """
        facts = self._handle.classify_query(query)
        return int(facts["statement_count"]), str(facts["query_class"].name)

    def create_temporary(self, name: str, structure: str) -> None:
        """Create a temporary table; `structure` is ClickHouse's column list."""
        query = f"CREATE TEMPORARY TABLE {_identifier(name)} ({structure})"
        if self.classify(query.encode())[0] != 1:
            raise EngineError(ErrorCode.SYNTAX_ERROR, "bad structure of a table. (SYNTAX_ERROR)")
        self.run(query.encode(), "Null", {})

    def drop_temporary(self, name: str) -> None:
        """Drop a temporary table if it is there."""
        self.run(f"DROP TEMPORARY TABLE IF EXISTS {_identifier(name)}".encode(), "Null", {})

    def run(self, query: bytes, output_format: str, params: Mapping[str, str]) -> EngineResult:
        """Run a query to its end and give the whole result.

        Raises:
            EngineError: the query failed.
        """
        try:
            result = self._handle.query(query, output_format, params=dict(params))
        except RuntimeError as error:
            raise EngineError.from_engine(str(error)) from error
        return EngineResult(result.bytes(), _summary(result))

    def stream(self, query: bytes, output_format: str, params: Mapping[str, str]) -> EngineStream:
        """Start a query whose result is fetched block by block.

        Raises:
            EngineError: the query failed before its first block.
        """
        try:
            cursor = self._handle.send_query(query, output_format, params=dict(params))
        except RuntimeError as error:
            raise EngineError.from_engine(str(error)) from error
        return EngineStream(self._handle, cursor)

    def insert(self, query: bytes, params: Mapping[str, str]) -> Summary:
        """Run an INSERT that reads its rows from a file and give the counters.

        Raises:
            EngineError: the rows could not be read, or not all be written to the table and every
                view behind it. Some may have been: the same rows with the same token complete them.
        """
        try:
            return self.run(query, "Null", params).summary
        except EngineError as error:
            message = _SAID_TWICE.sub("", _FILE.sub("", error.message))
            raise EngineError(error.code, message) from error

    def close(self) -> None:
        """Close the connection; a query still streaming on it is cancelled."""
        self._handle.close()


class EngineStream:
    """A running SELECT."""

    def __init__(self, handle: Any, cursor: Any) -> None:
        self._handle = handle
        self._cursor = cursor
        self._done = False
        self.summary = Summary()

    def fetch(self) -> bytes:
        """Give the next encoded block; empty at the end.

        Raises:
            EngineError: the query failed while it ran.
        """
        if self._done:
            return b""
        try:
            block = self._handle.streaming_fetch_result(self._cursor)
        except RuntimeError as error:
            self._done = True
            raise EngineError.from_engine(str(error)) from error
        data: bytes = block.bytes()
        if not block.rows_read():
            self._done = True
        self.summary = _add(self.summary, _summary(block))
        return data

    def cancel(self) -> None:
        """Stop the query; nothing happens when it has ended."""
        if not self._done:
            self._done = True
            self._handle.streaming_cancel_query(self._cursor)


def _summary(result: Any) -> Summary:
    written_rows, written_bytes = int(result.rows_written()), int(result.bytes_written())
    return Summary(
        read_rows=int(result.storage_rows_read()) or written_rows,
        read_bytes=int(result.storage_bytes_read()) or written_bytes,
        written_rows=written_rows,
        written_bytes=written_bytes,
        result_rows=int(result.rows_read()) or written_rows,
        result_bytes=int(result.bytes_read()) or written_bytes,
        elapsed_ns=int(result.elapsed() * 1e9),
    )


def _add(total: Summary, block: Summary) -> Summary:
    return Summary(
        # The storage counters run on from block to block; those of the result are the block's own.
        read_rows=max(total.read_rows, block.read_rows),
        read_bytes=max(total.read_bytes, block.read_bytes),
        result_rows=total.result_rows + block.result_rows,
        result_bytes=total.result_bytes + block.result_bytes,
        elapsed_ns=max(total.elapsed_ns, block.elapsed_ns),
    )


def _identifier(name: str) -> str:
    if not name.isascii() or not name.isidentifier():
        raise EngineError(ErrorCode.UNKNOWN_SETTING, f"Unknown setting '{name}'. (UNKNOWN_SETTING)")
    return name


def _literal(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _backquoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
