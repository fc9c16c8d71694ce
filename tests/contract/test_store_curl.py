"""curl against the embedded store: the protocol as ClickHouse documents it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import lz4.frame
import pytest
from clickhouse_connect.driver.client import Client

from tests.contract.conftest import STORE_PASSWORD
from tocsin.embedded.store import StoreAddress
from tocsin.embedded.store.blocks import BlockDecoder, BlockEncoder

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str | None:
        return self.headers.get("x-clickhouse-exception-code")


Curl = Callable[..., Answer]


@pytest.fixture
def curl(store: StoreAddress, tmp_path: Path) -> Curl:
    def run(query: str = "", *options: str, data: bytes | None = None, user: bool = True) -> Answer:
        head, body = tmp_path / "head", tmp_path / "body"
        command = ["curl", "-sS", "--noproxy", "*", "-D", str(head), "-o", str(body), *options]
        if user:
            command += [
                "-H",
                "X-ClickHouse-User: default",
                "-H",
                f"X-ClickHouse-Key: {STORE_PASSWORD}",
            ]
        if data is not None:
            command += ["--data-binary", "@-"]
        path = query if query.startswith("/") else f"/?{query}"
        subprocess.run([*command, store.url + path], input=data, check=True, timeout=60)
        lines = head.read_bytes().decode().split("\r\n\r\n")[-2].splitlines()
        fields = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in lines[1:])}
        return Answer(int(lines[0].split()[1]), fields, body.read_bytes() if body.exists() else b"")

    return run


def test_ping_and_root_need_no_user(curl: Curl) -> None:
    assert curl("/ping", user=False).body == b"Ok.\n"
    assert curl("/", user=False).body == b"Ok.\n"
    assert curl("/replicas_status", user=False).body == b"Ok.\n"


def test_query_in_the_address_and_in_the_body(curl: Curl) -> None:
    assert curl("query=SELECT+1").body == b"1\n"
    assert curl(data=b"SELECT 2").body == b"2\n"
    assert curl("query=SELECT+1", data=b"+ 2;").body == b"3\n"


def test_headers_of_an_answer(curl: Curl) -> None:
    answer = curl("query=SELECT+1+AS+a&query_id=abc&default_format=JSON")
    assert answer.headers["x-clickhouse-format"] == "JSON"
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["x-clickhouse-query-id"] == "abc"
    assert answer.headers["x-clickhouse-timezone"]
    assert json.loads(answer.headers["x-clickhouse-summary"])["read_rows"] == "1"
    assert json.loads(answer.body)["data"] == [{"a": 1}]


@pytest.mark.parametrize("form", ["CSVWithNames", "TSVWithNamesAndTypes", "Pretty", "Parquet"])
def test_the_format_in_the_text_wins(curl: Curl, form: str) -> None:
    answer = curl(
        "default_format=JSON", data=f"SELECT 1 AS a FORMAT {form} SETTINGS max_threads=1".encode()
    )
    assert (answer.status, answer.headers["x-clickhouse-format"]) == (200, form)


def test_long_results_of_headed_formats_have_one_head(curl: Curl) -> None:
    body = curl(data=b"SELECT number FROM numbers(200000) FORMAT CSVWithNames").body
    assert body.count(b'"number"') == 1
    assert len(body.splitlines()) == 200_001
    streamed = curl(data=b"SELECT number FROM numbers(500000) FORMAT TSV")
    assert streamed.body.splitlines()[-1] == b"499999"


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ("SELECT+nope", 404, "47"),
        ("SELEC", 400, "62"),
        ("SELECT+toUInt8('x')", 400, "6"),
        ("SELECT+throwIf(1)", 500, "395"),
        ("SELECT+1+FORMAT+Nope", 404, "73"),
        ("SELECT+1&max_threads_=1", 404, "115"),
        ("SELECT+1&database=nowhere", 404, "81"),
        ("SELECT+sleep(3)&max_execution_time=0.1", 408, "159"),
        ("CREATE+TABLE+x+ON+CLUSTER+c+(a+Int8)+ENGINE=Memory", 500, "701"),
    ],
)
def test_errors_have_clickhouses_status_code_and_text(
    curl: Curl, query: str, status: int, code: str
) -> None:
    answer = curl(f"query={query}", data=b"")
    assert (answer.status, answer.code) == (status, code)
    assert answer.body.startswith(f"Code: {code}. DB::Exception: ".encode())
    assert b"(version 2" in answer.body
    assert answer.body.count(b"Code: ") == 1


def test_get_is_readonly(curl: Curl, database: str) -> None:
    answer = curl(f"query=CREATE+TABLE+{database}.x+(a+Int8)+ENGINE=Memory")
    assert (answer.status, answer.code) == (500, "164")
    answer = curl("query=SYSTEM+FLUSH+LOGS")
    assert answer.code == "164"
    answer = curl(f"query=CREATE+TABLE+{database}.x+(a+Int8)+ENGINE=Memory", data=b"")
    assert answer.status == 200
    answer = curl(f"query=INSERT+INTO+{database}.x+VALUES+(1)")
    assert answer.code == "164"


@pytest.mark.parametrize(
    ("options", "user", "status"),
    [
        ((), False, 403),
        (("-u", f"default:{STORE_PASSWORD}"), False, 200),
        (("-u", "default:wrong"), False, 403),
        (("-u", f"nobody:{STORE_PASSWORD}"), False, 403),
        (("-u", f"default:{STORE_PASSWORD}"), True, 403),
        (("-H", "Authorization: Bearer x"), False, 403),
    ],
)
def test_users_and_passwords(curl: Curl, options: tuple[str, ...], user: bool, status: int) -> None:
    answer = curl("query=SELECT+1", *options, user=user)
    assert answer.status == status
    assert answer.code == (None if status == 200 else "516")
    assert curl(f"query=SELECT+1&user=default&password={STORE_PASSWORD}", user=False).status == 200


@pytest.mark.parametrize(
    ("query", "body"),
    [
        ("", b"INSERT INTO {t} VALUES (1, 'a;'), (2, 'b\\n')"),
        ("query=INSERT+INTO+{t}+VALUES", b"(1, 'a;'), (2, 'b\\n');"),
        ("query=INSERT+INTO+{t}+VALUES+(1,'a;')", b",(2, 'b\\n')"),
        ("query=INSERT+INTO+{t}+FORMAT+CSV", b'1,a;\n2,"b\n"\n'),
        (
            "",
            b'INSERT INTO {t} (s, x) FORMAT JSONEachRow\n{{"x":1,"s":"a;"}}\n{{"x":2,"s":"b\\n"}}',
        ),
        ("query=INSERT+INTO+{t}+SETTINGS+max_threads=1+FORMAT+TSV", b"1\ta;\n2\tb\\n\n"),
        ("", b"INSERT INTO {t} SELECT 1, 'a;' UNION ALL SELECT 2, 'b\\n';"),
        ("query=INSERT+INTO+{t}+SELECT+n,+s+FROM+f", b""),
        (
            "",
            b"-- FORMAT CSV\nINSERT INTO {t} /* VALUES */ (x, `s`) VALUES (1, 'a;')  , (2, 'b\\n')",
        ),
    ],
)
def test_every_way_to_insert(
    curl: Curl, client: Client, database: str, query: str, body: bytes
) -> None:
    client.command("CREATE TABLE t (x UInt8, s String) ENGINE = MergeTree ORDER BY x")
    client.command(
        "CREATE VIEW f AS SELECT 1 + number AS n, if(n = 1, 'a;', 'b\\n') AS s FROM numbers(2)"
    )
    table = f"{database}.t"
    data = body.decode().format(t=table).encode() if b"{t}" in body else body
    answer = curl(f"database={database}&" + query.format(t=table), data=data)
    assert answer.status == 200, answer.body
    assert json.loads(answer.headers["x-clickhouse-summary"])["written_rows"] == "2"
    assert client.query("SELECT * FROM t ORDER BY x").result_rows == [(1, "a;"), (2, "b\n")]


def test_native_and_row_binary_bodies_that_contain_anything(
    curl: Curl, client: Client, database: str
) -> None:
    client.command("CREATE TABLE t (x UInt64, s String) ENGINE = MergeTree ORDER BY x")
    text = "concat('a\\n;', char(0), char(255), ' FORMAT x;')"
    select = f"SELECT number AS x, {text} AS s FROM numbers(5000)"  # noqa: S608
    for form in (
        "Native",
        "RowBinary",
        "RowBinaryWithNamesAndTypes",
        "Parquet",
        "Arrow",
        "MsgPack",
    ):
        data = curl(data=f"{select} FORMAT {form}".encode()).body
        answer = curl(data=f"INSERT INTO {database}.t FORMAT {form}\n".encode() + data)
        assert answer.status == 200, answer.body
        assert client.query("SELECT count(), sum(x), any(length(s)) FROM t").result_rows == [
            (5000, 12497500, 15)
        ]
        client.command("TRUNCATE TABLE t")


def test_bad_rows_are_refused_and_leave_nothing(curl: Curl, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (x UInt8) ENGINE = MergeTree ORDER BY x")
    answer = curl(f"query=INSERT+INTO+{database}.t+FORMAT+CSV", data=b"1\n2\nzzz\n")
    assert (answer.status, answer.code) == (400, "117")
    answer = curl(f"query=INSERT+INTO+{database}.nope+FORMAT+CSV", data=b"1\n" * 500_000)
    assert (answer.status, answer.code) == (404, "60")
    answer = curl(
        f"database={database}", data=b"INSERT INTO t SELECT x FROM input('x UInt8') FORMAT CSV\n1"
    )
    assert (answer.status, answer.code) == (501, "48")
    assert client.query("SELECT count() FROM t").result_rows == [(0,)]


def test_parameters_in_the_address(curl: Curl) -> None:
    answer = curl("param_x=it%27s%5Ct1&param_i=numbers&query=SELECT+{x:String}", "--globoff")
    assert answer.body == b"it\\'s\\t1\n"
    assert curl("query=SELECT+{x:UInt8}&param_x=ab", "--globoff").code == "457"


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd", "lz4", "deflate", "xz", "bz2"])
def test_answers_are_compressed_when_both_sides_want_it(curl: Curl, coding: str) -> None:
    query = "query=SELECT+number+FROM+numbers(300000)&enable_http_compression="
    accept = ("-H", f"Accept-Encoding: {coding}")
    packed = curl(query + "1", *accept)
    assert packed.headers["content-encoding"] == coding
    assert len(packed.body) < 1_900_000
    plain = curl(query + "0", *accept)
    assert "content-encoding" not in plain.headers
    if coding == "lz4":
        assert lz4.frame.decompress(packed.body) == plain.body


def test_a_compressed_body_that_is_cut_off_is_refused(
    curl: Curl, client: Client, database: str
) -> None:
    client.command("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x")
    packed = lz4.frame.compress(b"".join(b"%d\n" % n for n in range(100_000)))
    query = f"query=INSERT+INTO+{database}.t+FORMAT+TSV"
    answer = curl(query, "-H", "Content-Encoding: lz4", data=packed[:-100])
    assert answer.code == "271"
    assert curl(query, "-H", "Content-Encoding: rot13", data=packed).code == "89"
    assert client.query("SELECT count() FROM t").result_rows == [(0,)]
    assert curl(query, "-H", "Content-Encoding: lz4", data=packed).status == 200
    assert client.query("SELECT count() FROM t").result_rows == [(100_000,)]


def test_clickhouses_own_blocks_both_ways(curl: Curl, client: Client, database: str) -> None:
    client.command("CREATE TABLE t (x UInt64) ENGINE = MergeTree ORDER BY x")
    rows = b"".join(b"%d\n" % n for n in range(300_000))
    query = f"query=INSERT+INTO+{database}.t+FORMAT+TSV&decompress=1"
    packed = BlockEncoder().encode(rows)
    assert curl(query, data=packed[:200] + b"x" + packed[201:]).code == "40"
    assert curl(query, data=packed).status == 200
    answer = curl(f"query=SELECT+x+FROM+{database}.t+ORDER+BY+x&compress=1")
    assert BlockDecoder().decode(answer.body) == rows


def test_our_blocks_are_those_that_the_engine_writes_to_disk(curl: Curl, client: Client) -> None:
    client.command(
        "CREATE TABLE t (x UInt64 CODEC(LZ4), y UInt64 CODEC(ZSTD), z UInt64 CODEC(NONE))"
        " ENGINE = MergeTree ORDER BY x"
        " SETTINGS min_bytes_for_wide_part = 0, min_rows_for_wide_part = 0"
    )
    client.command("INSERT INTO t SELECT number, number, number FROM numbers(50000)")
    path = client.query(
        "SELECT path FROM system.parts WHERE table = 't' AND database = currentDatabase()"
    )
    for name in ("x", "y", "z"):
        decoder = BlockDecoder()
        plain = decoder.decode((Path(path.result_rows[0][0]) / f"{name}.bin").read_bytes())
        decoder.finish()
        assert [int.from_bytes(plain[i : i + 8], "little") for i in range(0, 400_000, 8)] == list(
            range(50_000)
        )


def test_sessions_are_checked_and_locked(curl: Curl) -> None:
    assert curl("session_id=a1&session_check=1&query=SELECT+1").code == "372"
    assert curl("session_id=a1&query=CREATE+TEMPORARY+TABLE+z+(x+Int8)", data=b"").status == 200
    assert curl("session_id=a1&session_check=1&query=SELECT+count()+FROM+z").body == b"0\n"
    assert curl("session_id=a1&query=SELECT+1&session_timeout=4000").code == "374"
    assert curl("session_id=a1&query=SELECT+1&close_session=1").body == b"1\n"
    assert curl("session_id=a1&session_check=1&query=SELECT+1").code == "372"


def test_error_numbers_are_the_engines(client: Client) -> None:
    from tocsin.embedded.store.statuses import ErrorCode

    names = dict(
        client.query("SELECT number, errorCodeToName(number) FROM numbers(1100)").result_rows
    )
    assert {code: names[code] for code in ErrorCode} == {code: code.name for code in ErrorCode}


@pytest.mark.parametrize("tail", ["", ";", " -- done", " SETTINGS max_threads = 1;", "\n/* ; */"])
def test_formats_with_a_head_and_a_foot_in_every_spelling(curl: Curl, tail: str) -> None:
    query = f"SELECT number AS FORMAT FROM numbers(3) FORMAT JSONCompact{tail}"  # noqa: S608
    answer = curl(data=query.encode())
    assert json.loads(answer.body)["data"] == [[0], [1], [2]]
    answer = curl(
        "default_format=JSONCompact", data=b"WITH 2 AS x SELECT x, ';' UNION ALL SELECT 2, 'y' ;"
    )
    assert sorted(json.loads(answer.body)["data"]) == [[2, ";"], [2, "y"]]
    answer = curl(data=b"SELECT 1 AS a WHERE 0 FORMAT JSON")
    assert json.loads(answer.body)["rows"] == 0
    assert curl(data=b"SELECT throwIf(number = 5) FROM numbers(10) FORMAT JSON").code == "395"
    assert json.loads(curl(data=b"(SELECT 1) UNION ALL (SELECT 1) FORMAT JSON").body)["rows"] == 2
