from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tocsin.embedded.store.blocks import BlockDecoder, BlockEncoder
from tocsin.embedded.store.codings import Decoder, choose_coding, decoder, encoder
from tocsin.embedded.store.errors import EngineError

CODINGS = ["lz4", "zstd", "gzip", "deflate", "br", "xz", "bz2"]


def unpack(step: Decoder, data: bytes, size: int) -> bytes:
    pieces = [step.decode(data[i : i + size]) for i in range(0, len(data), size)]
    return b"".join(pieces) + step.finish()


@pytest.mark.parametrize("coding", CODINGS)
@given(st.lists(st.binary(max_size=3000), max_size=4), st.integers(1, 500))
def test_every_coding_gives_back_what_it_took(coding: str, pieces: list[bytes], size: int) -> None:
    out = encoder(coding)
    packed = b"".join(out.encode(piece) for piece in pieces) + out.finish()
    step = decoder(coding)
    assert step is not None
    assert unpack(step, packed, size) == b"".join(pieces)


@pytest.mark.parametrize("coding", CODINGS)
def test_a_stream_that_is_cut_off_or_broken_is_refused(coding: str) -> None:
    out = encoder(coding)
    packed = out.encode(bytes(range(256)) * 40) + out.finish()
    for bad in (packed[: len(packed) // 2], b"\x01\x02\x03" * 20):
        step = decoder(coding)
        assert step is not None
        with pytest.raises(EngineError) as caught:
            unpack(step, bad, 64)
        assert caught.value.code == 271


def test_frames_in_a_row_are_one_stream() -> None:
    step = decoder("gzip")
    assert step is not None
    assert unpack(step, gzip.compress(b"ab") + gzip.compress(b"cd"), 7) == b"abcd"


@pytest.mark.parametrize(
    ("accepted", "chosen"),
    [
        ("", None),
        ("identity", None),
        ("gzip, deflate, br, zstd", "zstd"),
        ("GZIP;q=0.5", "gzip"),
        ("lz4;q=0, gzip", "gzip"),
    ],
)
def test_the_cheapest_accepted_coding_is_chosen(accepted: str, chosen: str | None) -> None:
    assert choose_coding(accepted) == chosen


def test_an_unknown_coding_is_named() -> None:
    assert decoder("identity") is None
    with pytest.raises(EngineError, match="rot13") as caught:
        decoder("rot13")
    assert caught.value.code == 89


@given(st.lists(st.binary(max_size=5000), max_size=4), st.integers(1, 700))
def test_blocks_arrive_cut_anywhere(pieces: list[bytes], size: int) -> None:
    out = BlockEncoder()
    packed = b"".join(map(out.encode, pieces))
    assert unpack(BlockDecoder(), packed, size) == b"".join(pieces)


def test_broken_blocks_are_refused() -> None:
    packed = BlockEncoder().encode(b"hello " * 100)
    flipped = packed[:30] + bytes([packed[30] ^ 1]) + packed[31:]
    for bad, code in [(flipped, 40), (packed[:-1], 271), (b"\xff" * 40, 271)]:
        with pytest.raises(EngineError) as caught:
            unpack(BlockDecoder(), bad, 1000)
        assert caught.value.code == code
