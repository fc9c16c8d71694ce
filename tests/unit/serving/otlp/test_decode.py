"""The bytes of an export: protobuf and JSON say the same, and nothing else gets in."""

from __future__ import annotations

import gzip
import zlib
from typing import Any

import orjson
import pytest
from google.protobuf.json_format import MessageToDict

from serving.errors import OtlpError
from serving.otlp.decode import Encoding, encoding_of, parse, spans_in, unpack
from serving.otlp.span import Span
from tests.unit.serving.otlp.world import CHAT, END_NS, START_NS, export, span

FULL = span(
    7,
    CHAT
    | {
        "text": "ü",
        "whole": 2**62,
        "half": 0.5,
        "yes": True,
        "list": ["a", 1, [2]],
        "map": {"a": {"b": [1]}},
    },
    parent_id="00000000000000aa",
    trace_state="a=1",
    scope="openai",
    resource={"service.name": "web"},
    failed=True,
    happened=[("exception", 0.5, {"exception.type": "E"})],
)

SPECIFICATION = {
    "resourceSpans": [
        {
            "resource": {
                "attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]
            },
            "scopeSpans": [
                {
                    "scope": {"name": "my.library", "version": "1.0.0"},
                    "spans": [
                        {
                            "traceId": "5B8EFFF798038103D269B633813FC60C",
                            "spanId": "EEE19B7EC3C1B174",
                            "parentSpanId": "EEE19B7EC3C1B173",
                            "name": "I'm a server span",
                            "startTimeUnixNano": str(START_NS),
                            "endTimeUnixNano": END_NS,
                            "kind": 2,
                            "attributes": [{"key": "n", "value": {"intValue": "3"}}],
                            "status": {"code": 2},
                            "links": [{"traceId": "5B8EFFF798038103D269B633813FC60C"}],
                            "fieldOfTomorrow": {"x": [1]},
                        }
                    ],
                }
            ],
        }
    ]
}
"""In the style of the example in OTLP's own repository: hexadecimal ids, numbers as texts."""


def decoded(document: Any) -> list[Span]:
    return list(spans_in(parse(orjson.dumps(document), Encoding.JSON)))


def test_protobuf_comes_out_as_it_went_in() -> None:
    assert list(spans_in(parse(export([FULL]).SerializeToString(), Encoding.PROTOBUF))) == [FULL]


def test_json_says_the_same() -> None:
    document = MessageToDict(export([FULL]))
    (wire,) = document["resourceSpans"][0]["scopeSpans"][0]["spans"]
    wire |= {"traceId": FULL.trace_id, "spanId": FULL.span_id, "parentSpanId": FULL.parent_id}
    assert decoded(document) == [FULL]


def test_json_as_the_specification_has_it() -> None:
    (found,) = decoded(SPECIFICATION)
    assert found.trace_id == "5b8efff798038103d269b633813fc60c"
    assert (found.span_id, found.parent_id) == ("eee19b7ec3c1b174", "eee19b7ec3c1b173")
    assert (found.start_ns, found.end_ns, found.kind) == (START_NS, END_NS, 2)
    assert (found.attributes, found.failed) == ({"n": 3}, True)


@pytest.mark.parametrize("given", ["xyz", 7, None, "0a0"])
def test_an_id_that_is_none_costs_its_span_and_not_the_export(given: Any) -> None:
    document = orjson.loads(orjson.dumps(SPECIFICATION))
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["spanId"] = given
    (found,) = decoded(document)
    assert found.span_id == ""


def test_an_export_of_nothing() -> None:
    assert decoded({}) == []
    assert list(spans_in(parse(b"", Encoding.PROTOBUF))) == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[",
        b"[]",
        b"7",
        b"\xff",
        b'{"resourceSpans": 7}',
        b'{"resourceSpans": [7]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "soon"}]}]}]}',
        b'{"resourceSpans": [{"resource": {"attributes": {"a": "b"}}}]}',
        b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": -1}]}]}]}',
        b'{"resourceSpans":' * 500 + b"1" + b"}" * 500,
        b"[" * 5_000,
    ],
)
def test_what_is_no_export_in_json(body: bytes) -> None:
    with pytest.raises(OtlpError) as caught:
        parse(body, Encoding.JSON)
    assert caught.value.status == 400


def test_an_error_does_not_repeat_what_somebody_has_written() -> None:
    body = b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"startTimeUnixNano": "my secret"}]}]}]}'
    with pytest.raises(OtlpError) as caught:
        parse(body, Encoding.JSON)
    assert str(caught.value).endswith("wrong at resourceSpans.scopeSpans.spans.startTimeUnixNano")


@pytest.mark.parametrize("body", [b"\xff", b"not protobuf", b"\x0a\x05abc"])
def test_what_is_no_export_in_protobuf(body: bytes) -> None:
    with pytest.raises(OtlpError) as caught:
        parse(body, Encoding.PROTOBUF)
    assert caught.value.status == 400


def test_what_is_nested_too_deep_is_left_out() -> None:
    deep: Any = "end"
    for _ in range(20):
        deep = [deep]
    (found,) = spans_in(export([span(attributes={"deep": deep, "flat": 1})]))
    assert found.attributes["flat"] == 1
    assert "end" not in str(found.attributes["deep"])


@pytest.mark.parametrize(
    ("content_type", "encoding"),
    [
        ("application/x-protobuf", Encoding.PROTOBUF),
        ("application/json", Encoding.JSON),
        ("Application/JSON; charset=utf-8", Encoding.JSON),
    ],
)
def test_media_types(content_type: str, encoding: Encoding) -> None:
    assert encoding_of(content_type) is encoding


@pytest.mark.parametrize("content_type", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_other_media_types(content_type: str) -> None:
    with pytest.raises(OtlpError) as caught:
        encoding_of(content_type)
    assert caught.value.status == 415


def test_gzip_of_one_member_and_of_several() -> None:
    assert unpack(gzip.compress(b"abc", mtime=0), "gzip", 3) == b"abc"
    assert (
        unpack(gzip.compress(b"ab", mtime=0) + gzip.compress(b"c", mtime=0), " GZIP ", 3) == b"abc"
    )
    assert unpack(b"abc", "", 3) == b"abc"
    assert unpack(b"abc", "identity", 3) == b"abc"


@pytest.mark.parametrize(
    ("body", "coding", "status"),
    [
        (gzip.compress(b"abcd", mtime=0), "gzip", 413),
        (gzip.compress(bytes(50_000_000), mtime=0), "gzip", 413),
        (gzip.compress(b"ab", mtime=0) + gzip.compress(b"cd", mtime=0), "gzip", 413),
        (gzip.compress(b"abc", mtime=0)[:-1], "gzip", 400),
        (gzip.compress(b"abc", mtime=0) + b"x", "gzip", 400),
        (b"abc", "gzip", 400),
        (zlib.compress(b"abc"), "gzip", 400),
        (b"abc", "zstd", 415),
        (b"abc", "gzip, gzip", 415),
    ],
)
def test_what_cannot_be_unpacked(body: bytes, coding: str, status: int) -> None:
    with pytest.raises(OtlpError) as caught:
        unpack(body, coding, 3)
    assert caught.value.status == status
