"""HTTP content codings, both ways and incrementally, as ClickHouse's HTTP interface offers them."""

from __future__ import annotations

import bz2
import lzma
import sys
import zlib
from collections.abc import Callable
from typing import Any, Protocol

import brotli  # type: ignore[import-untyped]
import lz4.frame

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.statuses import ErrorCode

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    from backports import zstd

__all__ = ["Decoder", "Encoder", "choose_coding", "decoder", "encoder"]

_GZIP_WINDOW = 31
_FAST = 1


class Encoder(Protocol):
    """Compress a stream piece by piece."""

    def encode(self, data: bytes) -> bytes:
        """Take a piece; give what is ready."""

    def finish(self) -> bytes:
        """Give the rest."""


class Decoder(Protocol):
    """Decompress a stream piece by piece."""

    def decode(self, data: bytes) -> bytes:
        """Take a piece; give what is ready. Raises: EngineError 271 when it does not decompress."""

    def finish(self) -> bytes:
        """Check that the stream was whole. Raises: EngineError 271 when it was cut off."""


class _LibraryEncoder:
    """The compress/flush pair that zlib, bz2, lzma and zstd share."""

    def __init__(self, codec: Any) -> None:
        self._codec = codec

    def encode(self, data: bytes) -> bytes:
        return bytes(self._codec.compress(data))

    def finish(self) -> bytes:
        return bytes(self._codec.flush())


class _BrotliEncoder:
    def __init__(self) -> None:
        self._codec = brotli.Compressor(quality=_FAST)

    def encode(self, data: bytes) -> bytes:
        return bytes(self._codec.process(data))

    def finish(self) -> bytes:
        return bytes(self._codec.finish())


class _Lz4Encoder:
    def __init__(self) -> None:
        self._codec = lz4.frame.LZ4FrameCompressor(auto_flush=True)
        self._begun = False

    def encode(self, data: bytes) -> bytes:
        head = b"" if self._begun else self._codec.begin()
        self._begun = True
        return bytes(head + self._codec.compress(data))

    def finish(self) -> bytes:
        head = b"" if self._begun else self._codec.begin()
        return bytes(head + self._codec.flush())


class _FramedDecoder:
    """Decoders with `eof` and `unused_data`; several frames in a row are one stream."""

    def __init__(self, make: Callable[[], Any], errors: tuple[type[Exception], ...]) -> None:
        self._make = make
        self._errors = errors
        self._codec: Any = None

    def decode(self, data: bytes) -> bytes:
        out = []
        while data:
            if self._codec is None:
                self._codec = self._make()
            try:
                out.append(self._codec.decompress(data))
            except self._errors as error:
                raise _broken(str(error)) from error
            data = b""
            if self._codec.eof:
                data = self._codec.unused_data or b""
                self._codec = None
        return b"".join(out)

    def finish(self) -> bytes:
        if self._codec is not None:
            raise _broken("the compressed request body ends too early")
        return b""


class _BrotliDecoder:
    def __init__(self) -> None:
        self._codec = brotli.Decompressor()

    def decode(self, data: bytes) -> bytes:
        try:
            return bytes(self._codec.process(data))
        except brotli.error as error:
            raise _broken(str(error)) from error

    def finish(self) -> bytes:
        if not self._codec.is_finished():
            raise _broken("the compressed request body ends too early")
        return b""


_ENCODERS: dict[str, Callable[[], Encoder]] = {
    # In the order in which they are preferred: on a loopback port, processor time is what counts.
    "lz4": _Lz4Encoder,
    "zstd": lambda: _LibraryEncoder(zstd.ZstdCompressor(level=_FAST)),
    "gzip": lambda: _LibraryEncoder(zlib.compressobj(_FAST, zlib.DEFLATED, _GZIP_WINDOW)),
    "deflate": lambda: _LibraryEncoder(zlib.compressobj(_FAST)),
    "br": _BrotliEncoder,
    "xz": lambda: _LibraryEncoder(lzma.LZMACompressor(preset=_FAST)),
    "bz2": lambda: _LibraryEncoder(bz2.BZ2Compressor(_FAST)),
}
_DECODERS: dict[str, Callable[[], Decoder]] = {
    "lz4": lambda: _FramedDecoder(lz4.frame.LZ4FrameDecompressor, (RuntimeError, EOFError)),
    "zstd": lambda: _FramedDecoder(zstd.ZstdDecompressor, (zstd.ZstdError, EOFError)),
    "gzip": lambda: _FramedDecoder(lambda: zlib.decompressobj(_GZIP_WINDOW), (zlib.error,)),
    "deflate": lambda: _FramedDecoder(zlib.decompressobj, (zlib.error,)),
    "br": _BrotliDecoder,
    "xz": lambda: _FramedDecoder(lzma.LZMADecompressor, (lzma.LZMAError, EOFError)),
    "bz2": lambda: _FramedDecoder(bz2.BZ2Decompressor, (OSError, EOFError)),
}


def choose_coding(accepted: str) -> str | None:
    """Pick a coding from an Accept-Encoding header; None when none of ours is in it."""
    offered = set()
    for part in accepted.split(","):
        name, _, quality = part.partition(";")
        if quality.replace(" ", "") not in {"q=0", "q=0.0"}:
            offered.add(name.strip().lower())
    return next((name for name in _ENCODERS if name in offered), None)


def encoder(name: str) -> Encoder:
    """Make the encoder of a coding that `choose_coding` gave."""
    return _ENCODERS[name]()


def decoder(name: str) -> Decoder | None:
    """Make the decoder for a Content-Encoding header; None for an uncompressed body.

    Raises:
        EngineError: code 89, a coding that nobody here knows.
    """
    name = name.strip().lower()
    if name in {"", "identity"}:
        return None
    make = _DECODERS.get(name)
    if make is None:
        raise EngineError(
            ErrorCode.UNKNOWN_COMPRESSION_METHOD,
            f"Unknown compression method {name}: use {', '.join(_DECODERS)}. "
            "(UNKNOWN_COMPRESSION_METHOD)",
        )
    return make()


def _broken(reason: str) -> EngineError:
    return EngineError(
        ErrorCode.CANNOT_DECOMPRESS, f"Cannot decompress: {reason}. (CANNOT_DECOMPRESS)"
    )
