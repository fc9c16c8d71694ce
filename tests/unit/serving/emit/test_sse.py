"""The SSE parser: the standard's rules, whatever the chunk borders."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.emit.sse import SSEParser


def feed(*chunks: bytes, limit: int = 1_000) -> list[bytes]:
    parser = SSEParser(limit)
    return [data for chunk in chunks for data in parser.feed(chunk)]


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\n", [b"a"]),
        (b"data:a\n\n", [b"a"]),
        (b"data:  a\n\n", [b" a"]),
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"event: x\nid: 7\ndata: a\nretry: 3\n\n", [b"a"]),
        (b"data: a\ndata: b\n\n", [b"a\nb"]),
        (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
        (b": a comment\n\n", []),
        (b"event: x\n\n", []),
        (b"data\n\n", [b""]),
        (b"datax: a\n\n", []),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: a\n", []),  # never ended: not dispatched
        (b"", []),
    ],
)
def test_rules(stream: bytes, events: list[bytes]) -> None:
    assert feed(stream) == events
    assert feed(*(bytes([byte]) for byte in stream)) == events


def test_too_long_an_event_is_skipped_and_counted() -> None:
    parser = SSEParser(limit=10)
    assert parser.feed(b"data: " + b"x" * 100 + b"\n\ndata: a\n\n") == [b"a"]
    assert parser.skipped == 1
    assert parser.feed(b"data: 12345\ndata: 12345\ndata: 1\n\ndata: b\n\n") == [b"b"]
    assert parser.skipped == 2


def test_memory_is_bounded_without_a_line_end() -> None:
    parser = SSEParser(limit=100)
    parser.feed(b"data: ")
    for _ in range(1_000):
        parser.feed(b"x" * 50)
    assert len(parser._rest) <= 200
    assert parser.feed(b"\n\ndata: a\n\n") == [b"a"]
    assert parser.skipped == 1


lines = st.lists(
    st.sampled_from([b"data: a", b"data:", b"data: b c", b":", b"event: e", b"", b"", b"x"]),
    max_size=12,
)


@given(lines, st.sampled_from([b"\n", b"\r\n", b"\r"]), st.lists(st.integers(0, 200), max_size=8))
def test_chunk_borders_do_not_matter(parts: list[bytes], end: bytes, cuts: list[int]) -> None:
    stream = end.join([*parts, b"", b"data: last", b"", b"x"])
    borders = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    pieces = [stream[a:b] for a, b in itertools.pairwise(borders)]
    assert feed(*pieces) == feed(stream)
    assert feed(stream)[-1] == b"last"


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_any_bytes_are_survived(chunks: list[bytes]) -> None:
    feed(*chunks, limit=20)
