"""Reading a rules file, with every fault told by file, line, rule and key."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from alerting.errors import RulesError
from alerting.rules.document import parse_document
from alerting.rules.ruleset import RuleSet

__all__ = ["load_rules", "parse_rules", "read_rules"]


def load_rules(path: Path | None) -> RuleSet:
    """Read a rules file; None reads the rules that ship with Tocsin.

    Raises:
        RulesError: the file cannot be read or a rule is wrong; one line a fault.
    """
    return parse_rules(*read_rules(path))


def read_rules(path: Path | None) -> tuple[str, str]:
    """Return the text of a rules file and what to call it in errors; None is the shipped one.

    Raises:
        RulesError: the file cannot be read or is not UTF-8.
    """
    if path is None:
        shipped = files("alerting.rules").joinpath("default.yaml")
        return shipped.read_text(encoding="utf-8"), "alerting/rules/default.yaml"
    try:
        return path.read_text(encoding="utf-8"), str(path)
    except OSError as error:
        raise RulesError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RulesError(f"{path}: not UTF-8: {error.reason} at byte {error.start}") from None


def parse_rules(text: str, source: str) -> RuleSet:
    """Read rules from YAML text; ``source`` names it in errors.

    Raises:
        RulesError: the text is no YAML or a rule is wrong; one line a fault.
    """
    return parse_document(text, source, RuleSet, "rules", "rule")
