from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.embedded.store.statement import (
    first_word,
    into_file,
    output_format,
    split_insert,
    writes_file,
)


@pytest.mark.parametrize(
    ("text", "head", "form", "rows"),
    [
        (b"INSERT INTO t FORMAT CSV\n1,2", b"INSERT INTO t ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT CSV 1,2", b"INSERT INTO t ", "CSV", b"1,2"),
        (b"INSERT INTO t FORMAT CSV\r\n\n1", b"INSERT INTO t ", "CSV", b"\n1"),
        (b"insert into t values (1)", b"insert into t ", "Values", b" (1)"),
        (b"INSERT INTO t (a, `values`) VALUES", b"INSERT INTO t (a, `values`) ", "Values", b""),
        (b"-- FORMAT x\nINSERT INTO t VALUES", b"-- FORMAT x\nINSERT INTO t ", "Values", b""),
        (
            b"INSERT INTO t /* ; VALUES */ FORMAT TSV\n",
            b"INSERT INTO t /* ; VALUES */ ",
            "TSV",
            b"",
        ),
        (
            b"INSERT INTO t SETTINGS a = 'FORMAT X' FORMAT Native\n\x00\xff;",
            b"INSERT INTO t SETTINGS a = 'FORMAT X' ",
            "Native",
            b"\x00\xff;",
        ),
    ],
)
def test_an_insert_is_cut_where_its_rows_begin(
    text: bytes, head: bytes, form: str, rows: bytes
) -> None:
    parts = split_insert(text)
    assert parts is not None
    assert (parts.head, parts.format, text[parts.data_offset :]) == (head, form, rows)
    assert not parts.from_input


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"SELECT 1 FORMAT CSV",
        b"SELECT 'INSERT INTO t VALUES (1)'",
        b"WITH 1 AS x SELECT x FORMAT JSON",
        b"INSERT INTO t SELECT 1",
        b"INSERT INTO t SELECT format FROM u",
        b"INSERT INTO t SELECT * FROM values('a Int8', 1)",
        b"INSERT INTO t WITH 1 AS x SELECT x",
        b"CREATE TABLE t (values Int8) ENGINE = Memory",
        b"SELECT $$INSERT INTO t VALUES$$",
    ],
)
def test_other_statements_bring_no_rows(text: bytes) -> None:
    assert split_insert(text) is None


def test_rows_for_the_input_function_are_noticed() -> None:
    parts = split_insert(b"INSERT INTO t SELECT a FROM input('a Int8') FORMAT CSV\n1")
    assert parts is not None
    assert parts.from_input


@pytest.mark.parametrize(
    ("text", "form"),
    [
        (b"SELECT 1", None),
        (b"SELECT 1 FORMAT JSON", "JSON"),
        (b"SELECT 1 format JSON ;", "JSON"),
        (b"SELECT 1 FORMAT JSON SETTINGS a = 1", "JSON"),
        (b"SELECT format FROM t", None),
        (b"SELECT (SELECT 'FORMAT CSV')", None),
        (b"SELECT 1 -- FORMAT CSV", None),
        (b'SELECT 1 AS "FORMAT" FORMAT TSV', "TSV"),
    ],
)
def test_the_format_clause_is_found_at_the_end_only(text: bytes, form: str | None) -> None:
    assert output_format(text) == form


@pytest.mark.parametrize(
    ("text", "query"),
    [
        (b"SELECT 1", b"SELECT 1\nINTO OUTFILE '/f' FORMAT JSON"),
        (b"SELECT 1; -- x", b"SELECT 1\nINTO OUTFILE '/f' FORMAT JSON"),
        (b"SELECT 1 -- x", b"SELECT 1 -- x\nINTO OUTFILE '/f' FORMAT JSON"),
        (b"SELECT ';' FORMAT CSV;", b"SELECT ';' \nINTO OUTFILE '/f' FORMAT CSV"),
    ],
)
def test_a_result_is_sent_to_a_file(text: bytes, query: bytes) -> None:
    assert into_file(text, "/f", "JSON") == query


def test_first_words_and_outfiles() -> None:
    assert first_word(b" /* a */ select 1") == "SELECT"
    assert first_word(b"(SELECT 1)") == ""
    assert first_word(b"") == ""
    assert writes_file(b"SELECT 1 into /**/ outfile 'x'")
    assert not writes_file(b"SELECT 'INTO OUTFILE'")


@given(st.binary(max_size=200))
def test_any_bytes_after_an_insert_are_its_rows(rows: bytes) -> None:
    text = b"INSERT INTO `a b`.t (x) FORMAT RowBinary\n"
    parts = split_insert(text + rows)
    assert parts is not None
    assert (text + rows)[parts.data_offset :] == rows


@given(st.binary(max_size=300))
def test_no_bytes_break_the_reader(text: bytes) -> None:
    split_insert(text)
    output_format(text)
    into_file(text, "/f", "JSON")
    writes_file(text)
    first_word(text)
