"""Exceptions of the benchmark.

BenchmarkError
├── InexactError    Tocsin lost, doubled or miscounted something, or did not get through
├── InstallError    a peer cannot be installed
└── ScriptError     a contender's script failed, took too long, or did not do the work
"""

from __future__ import annotations

__all__ = ["BenchmarkError", "InexactError", "InstallError", "ScriptError"]


class BenchmarkError(Exception):
    """A measurement could not be made; the text says why."""


class InexactError(BenchmarkError):
    """Rows or windows are not what was sent."""


class InstallError(BenchmarkError):
    """A peer cannot be installed; the text is the end of what was printed."""


class ScriptError(BenchmarkError):
    """A script failed, took too long, or did not do the work; the text says which."""
