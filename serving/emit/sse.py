"""Split a stream of server-sent events into their data, however it is cut into chunks."""

from __future__ import annotations

__all__ = ["SSEParser"]

_BOM = b"\xef\xbb\xbf"


class SSEParser:
    """Collect chunks and hand out the data of each event that is complete.

    Follows the parsing rules of the HTML standard (section "server-sent events"): lines end with
    LF, CR or CRLF, several `data:` lines are joined by LF, a blank line ends the event. Event
    names and ids are left out, because the payloads of every API that vLLM speaks name their own
    type.

    Memory is bounded: an event longer than `limit` bytes is skipped and counted in `skipped`.
    """

    __slots__ = ("_data", "_first", "_limit", "_oversize", "_rest", "_size", "skipped")

    def __init__(self, limit: int = 1_048_576) -> None:
        self._limit = limit
        self._rest = b""  # an unfinished line
        self._data: list[bytes] = []  # the data lines of the unfinished event
        self._size = 0
        self._oversize = False
        self._first = True
        self.skipped = 0

    @property
    def oversize(self) -> bool:
        """Tell whether the event that has not ended yet is beyond the limit already."""
        return self._oversize

    def feed(self, chunk: bytes) -> list[bytes]:
        """Return the data of the events that `chunk` completes, in order."""
        # What vLLM sends nearly always: exactly one event of one line.
        if (
            not self._rest
            and not self._data
            and chunk.startswith(b"data: ")
            and chunk.endswith(b"\n\n")
            and chunk.find(b"\n") == len(chunk) - 2
            and b"\r" not in chunk
            and len(chunk) <= self._limit
            and not self._oversize
        ):
            self._first = False
            return [chunk[6:-2]]
        return self._feed(chunk)

    def _feed(self, chunk: bytes) -> list[bytes]:
        text = self._rest + chunk
        if self._first:
            if len(text) < len(_BOM) and _BOM.startswith(text):
                self._rest = text
                return []
            text = text.removeprefix(_BOM)
            self._first = False
        # A CR at the very end may be the first half of a CRLF: keep it back.
        held = b"\r" if text.endswith(b"\r") else b""
        body = text.removesuffix(b"\r") if held else text
        lines = body.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        last = lines.pop()
        done = [event for line in lines if (event := self._line(line)) is not None]
        if len(last) > self._limit:
            self._oversize = True
            last = last[:6]  # enough to tell what kind of line it was
        self._rest = last + held
        return done

    def _line(self, line: bytes) -> bytes | None:
        """Take one whole line; return the data of an event when the line ends one."""
        if not line:
            return self._dispatch()
        if line == b"data" or line.startswith(b"data:"):
            value = line[5:].removeprefix(b" ")
            self._size += len(value) + 1
            if self._size > self._limit:
                self._oversize = True
            if self._oversize:
                self._data = [b""]
            else:
                self._data.append(value)
        return None

    def _dispatch(self) -> bytes | None:
        data, oversize = self._data, self._oversize
        self._data, self._size, self._oversize = [], 0, False
        if oversize:
            self.skipped += 1
            return None
        return b"\n".join(data) if data else None
