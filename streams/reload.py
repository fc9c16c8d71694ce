"""A rules file that is changed while the worker runs, taken over once it is whole and right."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import structlog

from alerting.errors import RulesError
from alerting.rules import RuleSet, parse_rules, read_rules
from streams import metrics

__all__ = ["RulesFile"]

log = structlog.get_logger(__name__)


class RulesFile:
    """The rules in force, and the file that they come from.

    A change is taken over when two looks found the same text, so that a file that is still being
    written is not taken for one with fewer rules. A file that does not check, or is gone, leaves
    the rules in force as they are; it is told once for each text, and by a gauge for as long.

    Args:
        path: the file; None is the rules that ship with Tocsin, which do not change.

    Attributes:
        text: what the rules in force were read from.
        rules: the rules in force, their durations as written.

    Raises:
        RulesError: the file does not check at the start, when no rules are in force yet.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path
        self.text, source = read_rules(path)
        self.rules = parse_rules(self.text, source)
        self._listeners: list[Callable[[RuleSet], None]] = []
        self._seen = self._refused = self.text
        metrics.RULES_REFUSED.set(0)

    def listen(self, listener: Callable[[RuleSet], None]) -> None:
        """Call a listener with each set of rules that comes into force from now on."""
        self._listeners.append(listener)

    async def look(self) -> None:
        """Look whether the file has changed, and take it over if it checks."""
        if self._path is None:
            return
        try:
            text, source = await asyncio.to_thread(read_rules, self._path)
        except RulesError as error:
            self._refuse("", str(error))
            return
        if text == self.text:
            self._seen = self._refused = text
            metrics.RULES_REFUSED.set(0)
            return
        if text != self._seen:  # look again, it may be half written
            self._seen = text
            return
        if text == self._refused:
            return
        try:
            rules = await asyncio.to_thread(parse_rules, text, source)
        except RulesError as error:
            self._refuse(text, str(error))
            return
        self.text, self.rules, self._refused = text, rules, text
        metrics.RULES_REFUSED.set(0)
        metrics.RULES_LOADED.inc()
        log.info("rules_taken_over", file=str(self._path), rules=len(rules.rules))
        for listener in self._listeners:
            listener(rules)

    def _refuse(self, text: str, why: str) -> None:
        metrics.RULES_REFUSED.set(1)
        if text != self._refused:
            self._refused = text
            log.error("rules_refused_old_ones_stay", faults=why)
