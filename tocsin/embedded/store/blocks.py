"""ClickHouse's own block compression (`compress=1`, `decompress=1`).

A block is a CityHash128 (version 1.0.2) checksum of the rest, a method byte, the compressed size
including this 9-byte header and the plain size (both little-endian UInt32), and the payload.
The same blocks make up a MergeTree part's .bin files, which the tests read back.
"""

from __future__ import annotations

import struct
import sys

import lz4.block
from clickhouse_cityhash.cityhash import CityHash128  # type: ignore[import-untyped]

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["BlockDecoder", "BlockEncoder"]

_HEADER = struct.Struct("<BII")
_HASH = struct.Struct("<QQ")
_NONE, _LZ4, _ZSTD = 0x02, 0x82, 0x90
_PIECE = 1 << 20
_LARGEST = 1 << 30


class BlockEncoder:
    """Compress with LZ4, a block for each MiB."""

    def encode(self, data: bytes) -> bytes:
        """Give the blocks of one piece of output."""
        pieces = (data[start : start + _PIECE] for start in range(0, len(data), _PIECE))
        return b"".join(map(_block, pieces))

    def finish(self) -> bytes:
        """Give nothing: blocks end by themselves."""
        return b""


class BlockDecoder:
    """Decompress blocks that arrive cut anywhere."""

    def __init__(self) -> None:
        self._rest = b""

    def decode(self, data: bytes) -> bytes:
        """Give the plain bytes of the blocks that are whole.

        Raises:
            EngineError: wrong checksum (40), unknown method (89), or a payload that is broken.
        """
        data = self._rest + data
        out, position = [], 0
        while len(data) - position >= _HASH.size + _HEADER.size:
            start = position + _HASH.size
            method, packed, plain = _HEADER.unpack_from(data, start)
            if not _HEADER.size <= packed <= _LARGEST or plain > _LARGEST:
                raise _error(ErrorCode.CANNOT_DECOMPRESS, "a block's size is out of range")
            if len(data) - start < packed:
                break
            body = data[start : start + packed]
            if _HASH.pack(*_checksum(body)) != data[position:start]:
                raise _error(ErrorCode.CHECKSUM_DOESNT_MATCH, "a compressed block is corrupted")
            out.append(_plain(method, body[_HEADER.size :], plain))
            position = start + packed
        self._rest = data[position:]
        return b"".join(out)

    def finish(self) -> bytes:
        """Check that no block is left open.

        Raises:
            EngineError: the body ended within a block.
        """
        if self._rest:
            raise _error(ErrorCode.CANNOT_DECOMPRESS, "the body ends within a compressed block")
        return b""


def _block(piece: bytes) -> bytes:
    payload: bytes = lz4.block.compress(piece, store_size=False)
    body = _HEADER.pack(_LZ4, _HEADER.size + len(payload), len(piece)) + payload
    return _HASH.pack(*_checksum(body)) + body


def _checksum(body: bytes) -> tuple[int, int]:
    # The library gives one 128-bit number; ClickHouse writes its upper word first.
    value = int(CityHash128(body))
    return value >> 64, value & 0xFFFFFFFFFFFFFFFF


def _plain(method: int, payload: bytes, size: int) -> bytes:
    try:
        if method == _LZ4:
            return bytes(lz4.block.decompress(payload, uncompressed_size=size))
        if method == _ZSTD:
            return bytes(zstd.decompress(payload))
    except (lz4.block.LZ4BlockError, zstd.ZstdError) as error:
        raise _error(ErrorCode.CANNOT_DECOMPRESS, str(error)) from error
    if method == _NONE:
        return payload
    raise _error(ErrorCode.UNKNOWN_COMPRESSION_METHOD, f"unknown compression method {method:#x}")


def _error(code: ErrorCode, reason: str) -> EngineError:
    return EngineError(code, f"Cannot read compressed data: {reason}. ({code.name})")
