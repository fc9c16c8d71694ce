"""Exceptions of schemas.

TocsinError
├── SettingsError        a setting is wrong; names the source, the key and what was expected
├── MigrationError       the store's schema cannot be brought to this version
└── (each package adds its own branch)
"""

from __future__ import annotations

__all__ = ["MigrationError", "SettingsError", "TocsinError"]


class TocsinError(Exception):
    """The root of every error that Tocsin raises on purpose."""


class SettingsError(TocsinError):
    """A setting is wrong: the text names file or variable, key, and what was expected."""


class MigrationError(TocsinError):
    """The store's schema cannot be brought to the version of this code."""
