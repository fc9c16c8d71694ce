"""Alerts as rows of a Faust table, beside what else that table holds."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Final

from alerting.state import AlertState
from streams.early_answers import EARLY
from streams.evaluated import EVALUATED
from streams.permission import KILL_SWITCH, POLICY

__all__ = ["REQUEST", "RULES", "AlertStates"]

REQUEST: Final = "request:"
"""Begins the keys of requests that wait for their results."""
RULES: Final = "rules"
"""The key of the rules that the rows were written under."""

_OTHER: Final = frozenset({EVALUATED, KILL_SWITCH, POLICY, RULES})


class AlertStates:
    """Fingerprint to AlertState as JSON text."""

    def __init__(self, table: MutableMapping[str, str]) -> None:
        self._table = table

    def live(self) -> Iterator[AlertState]:
        """Yield the state of each alert that is not at rest."""
        for key, text in list(self._table.items()):
            if key in _OTHER or key.startswith((EARLY, REQUEST)):
                continue
            state = AlertState.model_validate_json(text)
            if not state.idle:
                yield state

    def get(self, fingerprint: str) -> AlertState | None:
        """Return an alert that is known."""
        text = self._table.get(fingerprint)
        return AlertState.model_validate_json(text) if text else None

    def put(self, state: AlertState) -> None:
        """Keep an alert; one that never fired needs no memory, and series come and go for ever."""
        if state.idle and not state.incident_id:
            self._table.pop(state.fingerprint, None)
            return
        self._table[state.fingerprint] = state.to_json().decode()
