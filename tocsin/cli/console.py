"""What commands share: the console, settings, and errors told in words."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer
from rich.console import Console

from schemas.errors import TocsinError
from schemas.settings import Settings, load_settings
from tocsin.logs import configure_logging

__all__ = ["console", "errors_told", "libraries_silent", "settings_for_command", "told"]

# A file or a pipe has no width of its own: tables and paths get room enough.
console = Console(width=None if sys.stdout.isatty() else 110)
_errors = Console(stderr=True)


@contextmanager
def errors_told() -> Iterator[None]:
    """Print what Tocsin raises on purpose as one message, and exit with 2."""
    try:
        yield
    except TocsinError as error:
        told(str(error))
        raise typer.Exit(2) from None


@contextmanager
def libraries_silent() -> Iterator[None]:
    """Write no log for the time of the block: the command's own words say all."""
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(before)


def told(text: str) -> None:
    """Print an error message to standard error, as it is."""
    _errors.print("error: ", style="bold red", end="")
    _errors.print(text, markup=False, highlight=False)


def settings_for_command() -> Settings:
    """Read the settings and set logging up."""
    settings = load_settings()
    configure_logging(settings)
    return settings
