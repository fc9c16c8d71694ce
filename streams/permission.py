"""What may act on an alert now: policy, its memory, the kill switch, silences that mute actions."""

from __future__ import annotations

from collections.abc import MutableMapping
from typing import Final

from alerting.policy import Policy
from alerting.rules.model import Rule
from alerting.silence import alert_labels
from alerting.state import AlertState
from schemas.action import ActionRequested, KillSwitch
from streams.silences import Silences

__all__ = ["KILL_SWITCH", "POLICY", "Permission"]

KILL_SWITCH: Final = "kill-switch"
POLICY: Final = "policy"


class Permission:
    """Two rows of the table of alerts: what was done lately, and how the kill switch stands.

    Args:
        policy: what may act, before anything was done.
        table: where the rows are.
        silences: those that mute actions bar them.
    """

    def __init__(
        self, policy: Policy, table: MutableMapping[str, str], silences: Silences | None
    ) -> None:
        self._initial = policy
        self._table = table
        self._silences = silences
        self._switch: tuple[str, KillSwitch] | None = None

    def of(self, rule: Rule, state: AlertState, now_us: int, *, lagging: bool) -> Policy:
        """Return what may act on one alert now."""
        policy = self._policy().hold(lagging)
        if told := self._kill_switch():
            policy = policy.freeze(told.status == "on", told.reason)
        return policy.bar(self._muting(rule, state, now_us))

    def record(self, request: ActionRequested, now_us: int) -> None:
        """Note that an action was asked for."""
        policy = self._policy()
        if (after := policy.record(request, now_us)) is not policy:
            self._table[POLICY] = after.to_json().decode()

    def hear(self, message: KillSwitch) -> None:
        """Note how the executor's kill switch stands."""
        self._table[KILL_SWITCH] = message.to_json().decode()

    def _muting(self, rule: Rule, state: AlertState, now_us: int) -> str:
        """Return why a silence bars actions on an alert; empty when none does."""
        if self._silences is None:
            return ""
        labels = alert_labels(rule.name, (state.severity or rule.severity).value, state.labels)
        silence = self._silences.muting(labels, now_us, actions=True)
        return f"silenced by {silence.by}, actions too: {silence.reason}" if silence else ""

    def _kill_switch(self) -> KillSwitch | None:
        """Return how the kill switch stands; parsed once, for every step asks."""
        text = self._table.get(KILL_SWITCH)
        if not text:
            return None
        if self._switch is None or self._switch[0] != text:
            self._switch = (text, KillSwitch.model_validate_json(text))
        return self._switch[1]

    def _policy(self) -> Policy:
        text = self._table.get(POLICY)
        if not text:
            return self._initial
        remembered = Policy.model_validate_json(text)
        return self._initial.model_copy(update={"recent": remembered.recent})
