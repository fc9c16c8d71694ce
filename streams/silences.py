"""The silences in force, as rows of a table that the dispatcher writes."""

from __future__ import annotations

from collections.abc import Iterable, MutableMapping
from typing import Final

from alerting.silence import Silence, silenced_by
from schemas.base import Labels
from schemas.command import SilenceCommand

__all__ = ["Silences"]

_KEY: Final = "silence:"
_REMEMBERED_US: Final = 86_400_000_000


class Silences:
    """Silences over one table of text, parsed once."""

    def __init__(self, table: MutableMapping[str, str]) -> None:
        self._table = table
        self._loaded: dict[str, Silence] | None = None

    def forget(self) -> None:
        """Read everything anew when next asked."""
        self._loaded = None

    def all(self) -> Iterable[Silence]:
        """Return every silence that is known, over ones of the last day among them."""
        return self._known().values()

    def add(self, command: SilenceCommand) -> None:
        """Put a silence in force, or another in its place.

        Raises:
            ValueError: its matchers cannot be used.
        """
        self._write(Silence.asked(command))
        for silence in list(self.all()):
            if silence.ends_us < command.at_us - _REMEMBERED_US:
                del self._table[_KEY + silence.silence_id]
                del self._known()[silence.silence_id]

    def expire(self, silence_id: str, now_us: int) -> bool:
        """End a silence; tell whether there was one."""
        silence = self._known().get(silence_id)
        if silence is None:
            return False
        self._write(silence.ended(now_us))
        return True

    def muting(self, labels: Labels, now_us: int, *, actions: bool = False) -> Silence | None:
        """Return a silence that mutes an alert now; see ``silenced_by``."""
        return silenced_by(self.all(), labels, now_us, actions=actions)

    def ended_since(self, since_us: int, now_us: int) -> bool:
        """Tell whether a silence came to its end after one time, up to another."""
        return any(since_us < silence.ends_us <= now_us for silence in self.all())

    def next_end(self, now_us: int) -> int | None:
        """Return when the next silence comes to its end; None when none will."""
        ends = [silence.ends_us for silence in self.all() if silence.ends_us > now_us]
        return min(ends, default=None)

    def _known(self) -> dict[str, Silence]:
        if self._loaded is None:
            self._loaded = {
                key.removeprefix(_KEY): Silence.model_validate_json(text)
                for key, text in list(self._table.items())
                if key.startswith(_KEY)
            }
        return self._loaded

    def _write(self, silence: Silence) -> None:
        self._known()[silence.silence_id] = silence
        self._table[_KEY + silence.silence_id] = silence.to_json().decode()
