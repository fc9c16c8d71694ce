"""What a request asks for, read from its headers and query string (nothing is executed here)."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["ExternalTable", "QueryRequest", "SessionRequest"]

# Parameters that belong to the HTTP interface; every other one is a setting of the query.
_RESERVED = frozenset(
    (
        *("query", "query_id", "database", "default_format", "user", "password", "quota_key"),
        *("session_id", "session_timeout", "session_check", "close_session", "role", "stacktrace"),
        *("compress", "decompress", "buffer_size", "wait_end_of_query", "client_protocol_version"),
    )
)
# Settings that only ClickHouse's HTTP interface acts upon; the engine never needs to see them.
_OF_HTTP = frozenset(
    (
        *("enable_http_compression", "http_zlib_compression_level", "http_wait_end_of_query"),
        *("send_progress_in_http_headers", "http_headers_progress_interval_ms"),
        *("cancel_http_readonly_queries_on_client_close", "http_response_buffer_size"),
    )
)
_EXTERNAL_SUFFIXES = ("_format", "_types", "_structure")
_LONGEST_SESSION_S = 3600


@dataclass(frozen=True, slots=True)
class SessionRequest:
    """A session by name; `must_exist` refuses to open a new one."""

    name: str
    timeout_s: int
    must_exist: bool
    close_after: bool


@dataclass(frozen=True, slots=True)
class ExternalTable:
    """Rows that came with the query and are a temporary table while it runs."""

    name: str
    structure: str
    format: str
    data: bytes


@dataclass(frozen=True, slots=True)
class QueryRequest:
    """One request, as far as its address line and headers tell."""

    text: bytes
    query_id: str
    database: str | None
    default_format: str | None
    settings: Mapping[str, str]
    params: Mapping[str, str]
    session: SessionRequest | None
    may_change: bool
    accept_encoding: str
    content_encoding: str
    compress_blocks: bool
    decompress_blocks: bool
    wait_for_end: bool
    external: tuple[ExternalTable, ...] = field(default=())

    @classmethod
    def read(
        cls,
        method: str,
        headers: Mapping[str, str],
        query: Mapping[str, str],
        *,
        with_form: bool = False,
    ) -> QueryRequest:
        """Read a request (`headers` by lower-case names).

        Raises:
            EngineError: a session timeout that is no number or beyond an hour.
        """
        settings = {}
        for name, value in query.items():
            external = with_form and name.endswith(_EXTERNAL_SUFFIXES)
            known = name in _RESERVED or name in _OF_HTTP or name.startswith("param_")
            if name and not known and not external:
                settings[name] = value
        accepts = headers.get("accept-encoding", "")
        return cls(
            text=query.get("query", "").encode(),
            query_id=query.get("query_id")
            or headers.get("x-clickhouse-query-id")
            or str(uuid.uuid4()),
            database=headers.get("x-clickhouse-database") or query.get("database") or None,
            default_format=headers.get("x-clickhouse-format")
            or query.get("default_format")
            or None,
            settings=settings,
            params=_params(query),
            session=_session(query),
            may_change=method in {"POST", "PUT"},
            accept_encoding=accepts if _flag(query, "enable_http_compression") else "",
            content_encoding=headers.get("content-encoding", ""),
            compress_blocks=_flag(query, "compress"),
            decompress_blocks=_flag(query, "decompress"),
            wait_for_end=_flag(query, "wait_end_of_query")
            or _flag(query, "http_wait_end_of_query"),
        )


def _params(query: Mapping[str, str]) -> dict[str, str]:
    return {
        name.removeprefix("param_"): value
        for name, value in query.items()
        if name.startswith("param_")
    }


def _flag(query: Mapping[str, str], name: str) -> bool:
    return query.get(name, "0").lower() in {"1", "true"}


def _session(query: Mapping[str, str]) -> SessionRequest | None:
    name = query.get("session_id")
    if not name:
        return None
    text = query.get("session_timeout", "60")
    if not text.isdecimal() or int(text) > _LONGEST_SESSION_S:
        raise EngineError(
            ErrorCode.INVALID_SESSION_TIMEOUT,
            f"Invalid session timeout: '{text}', at most {_LONGEST_SESSION_S} seconds. "
            "(INVALID_SESSION_TIMEOUT)",
        )
    return SessionRequest(
        name=name,
        timeout_s=int(text),
        must_exist=_flag(query, "session_check"),
        close_after=_flag(query, "close_session"),
    )
