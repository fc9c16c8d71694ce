from __future__ import annotations

import base64

import pytest

from tocsin.embedded.store.access import Credentials
from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import QueryRequest
from tocsin.embedded.store.replies import content_type, error_body, error_within
from tocsin.embedded.store.statuses import http_status


def test_what_belongs_to_http_is_kept_from_the_engine() -> None:
    asked = QueryRequest.read(
        "POST",
        {"accept-encoding": "gzip", "x-clickhouse-format": "JSON"},
        {
            "query": "SELECT 1",
            "database": "d",
            "default_format": "CSV",
            "max_threads": "2",
            "param_x": "v",
            "session_id": "s",
            "session_check": "1",
            "enable_http_compression": "1",
            "wait_end_of_query": "1",
            "user": "u",
            "password": "p",
        },
    )
    assert asked.settings == {"max_threads": "2"}
    assert asked.params == {"x": "v"}
    assert (asked.database, asked.default_format, asked.accept_encoding) == ("d", "JSON", "gzip")
    assert asked.session is not None
    assert (asked.session.must_exist, asked.session.timeout_s) == (True, 60)
    assert asked.wait_for_end
    assert asked.may_change


def test_a_get_may_change_nothing_and_gets_an_id() -> None:
    first, second = (QueryRequest.read("GET", {}, {}) for _ in range(2))
    assert not first.may_change
    assert first.query_id != second.query_id
    assert first.accept_encoding == ""


@pytest.mark.parametrize("timeout", ["-1", "x", "3601", ""])
def test_bad_session_timeouts_are_refused(timeout: str) -> None:
    with pytest.raises(EngineError) as caught:
        QueryRequest.read("GET", {}, {"session_id": "s", "session_timeout": timeout})
    assert caught.value.code == 374


@pytest.mark.parametrize(
    ("headers", "query", "allowed"),
    [
        ({}, {}, False),
        ({"x-clickhouse-user": "default", "x-clickhouse-key": "pw"}, {}, True),
        ({"x-clickhouse-key": "pw"}, {}, True),
        ({"x-clickhouse-user": "other", "x-clickhouse-key": "pw"}, {}, False),
        ({"authorization": "Basic " + base64.b64encode(b"default:pw").decode()}, {}, True),
        ({"authorization": "Basic " + base64.b64encode(b"default:p:w").decode()}, {}, False),
        ({"authorization": "Basic ???"}, {}, False),
        ({"authorization": "Bearer pw"}, {}, False),
        ({}, {"user": "default", "password": "pw"}, True),
        ({}, {"password": "pw"}, True),
        ({"x-clickhouse-key": "pw"}, {"password": "pw"}, False),
    ],
)
def test_credentials(headers: dict[str, str], query: dict[str, str], allowed: bool) -> None:
    credentials = Credentials(password="pw")
    if allowed:
        credentials.check(headers, query)
        return
    with pytest.raises(EngineError) as caught:
        credentials.check(headers, query)
    assert caught.value.code == 516


def test_no_password_means_the_default_user_needs_none() -> None:
    Credentials().check({}, {})


@pytest.mark.parametrize(
    ("text", "code", "message"),
    [
        ("Code: 47. DB::Exception: no x. (A) (version 26.9.2.1)", 47, "no x. (A)"),
        ("Failed: Code: 1. DB::Exception: Code: 1. DB::Exception: y", 1, "y"),
        (
            "Code: 2. DB::Exception: z (version 1.2 (official build)). (B) (version 1.2)",
            2,
            "z (version 1.2 (official build)). (B)",
        ),
        ("something else", 1002, "something else"),
    ],
)
def test_engine_messages_are_read(text: str, code: int, message: str) -> None:
    error = EngineError.from_engine(text)
    assert (error.code, error.message) == (code, message)


def test_errors_are_written_as_clickhouse_writes_them() -> None:
    error = EngineError(47, "Unknown x. (UNKNOWN_IDENTIFIER)")
    body = error_body(error, "26.9")
    assert body == (
        b"Code: 47. DB::Exception: Unknown x. (UNKNOWN_IDENTIFIER)"
        b" (version 26.9 (official build))\n"
    )
    within = error_within(error, "26.9", "tag")
    assert within.startswith(b"\r\n__exception__\r\ntag\r\nCode: 47.")
    assert within.endswith(f"{len(body)} tag\r\n__exception__\r\n".encode())


@pytest.mark.parametrize(
    ("code", "status"),
    [(47, 404), (62, 400), (516, 403), (194, 401), (48, 501), (395, 500), (9999, 500)],
)
def test_statuses(code: int, status: int) -> None:
    assert http_status(code) == status


@pytest.mark.parametrize(
    ("form", "kind"),
    [
        ("JSONEachRow", "application/x-ndjson"),
        ("JSONCompact", "application/json"),
        ("TSVWithNames", "text/tab-separated-values"),
        ("CSVWithNames", "text/csv; charset=UTF-8; header=present"),
        ("Native", "application/octet-stream"),
        ("Pretty", "text/plain"),
    ],
)
def test_content_types(form: str, kind: str) -> None:
    assert content_type(form).startswith(kind)
