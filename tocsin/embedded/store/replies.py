"""The answers of the HTTP interface: headers, counters, and errors before or amid a result."""

from __future__ import annotations

import json
import secrets

from tocsin.embedded.store.connection import Summary
from tocsin.embedded.store.engine import Engine
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import http_status

__all__ = ["content_type", "error_body", "error_status", "error_within", "headers", "new_tag"]

_TEXT = "text/plain; charset=UTF-8"
_TYPES = {
    "Native": "application/octet-stream",
    "RowBinary": "application/octet-stream",
    "RowBinaryWithNames": "application/octet-stream",
    "RowBinaryWithNamesAndTypes": "application/octet-stream",
    "Arrow": "application/octet-stream",
    "ArrowStream": "application/octet-stream",
    "Parquet": "application/octet-stream",
    "ORC": "application/octet-stream",
    "Avro": "application/octet-stream",
    "MsgPack": "application/octet-stream",
    "XML": "application/xml; charset=UTF-8",
}


def content_type(output_format: str) -> str:
    """Give the Content-Type that goes with a format."""
    if output_format.startswith(("TabSeparated", "TSV")):
        return "text/tab-separated-values; charset=UTF-8"
    if output_format.startswith("CSV"):
        names = "; header=present" if "WithNames" in output_format else "; header=absent"
        return f"text/csv; charset=UTF-8{names}"
    if output_format.endswith("EachRow") or output_format in {"JSONLines", "NDJSON"}:
        return "application/x-ndjson; charset=UTF-8"
    if output_format.startswith(("JSON", "PrettyJSON")):
        return "application/json; charset=UTF-8"
    return _TYPES.get(output_format, _TEXT)


def headers(
    engine: Engine, query_id: str, output_format: str | None, summary: Summary
) -> dict[str, str]:
    """Give the headers of a successful answer; an INSERT has no format."""
    fields = {
        "Content-Type": content_type(output_format) if output_format else _TEXT,
        "X-ClickHouse-Server-Display-Name": engine.host_name,
        "X-ClickHouse-Query-Id": query_id,
        "X-ClickHouse-Timezone": engine.timezone,
        "X-ClickHouse-Summary": _counters(summary),
    }
    if output_format:
        fields["X-ClickHouse-Format"] = output_format
    return fields


def error_status(error: EngineError) -> int:
    """Give the HTTP status of an error."""
    return http_status(error.code)


def error_body(error: EngineError, version: str) -> bytes:
    """Write an error as ClickHouse does: code, text, version, newline."""
    return f"{error} (version {version} (official build))\n".encode()


def new_tag() -> str:
    """Make the tag by which a client tells an error amid a result from the result's own bytes."""
    return secrets.token_hex(8)


def error_within(error: EngineError, version: str, tag: str) -> bytes:
    """Write an error that comes after part of the result has been sent."""
    message = error_body(error, version)
    open_mark = b"\r\n__exception__\r\n" + tag.encode() + b"\r\n"
    close_mark = f"{len(message)} {tag}".encode() + b"\r\n__exception__\r\n"
    return open_mark + message + close_mark


def _counters(summary: Summary) -> str:
    fields = {
        "read_rows": summary.read_rows,
        "read_bytes": summary.read_bytes,
        "written_rows": summary.written_rows,
        "written_bytes": summary.written_bytes,
        "total_rows_to_read": 0,
        "result_rows": summary.result_rows,
        "result_bytes": summary.result_bytes,
        "elapsed_ns": summary.elapsed_ns,
    }
    return json.dumps({name: str(value) for name, value in fields.items()}, separators=(",", ":"))
