"""``tocsin settings``: what is set, and what could be."""

from __future__ import annotations

from typing import Annotated, Any

import typer
import yaml
from pydantic import BaseModel

from schemas.settings import Settings
from tocsin.cli.console import errors_told, settings_for_command

__all__ = ["show_settings"]


def show_settings(
    names: Annotated[bool, typer.Option("--names", help="list the variables instead")] = False,
) -> None:
    """Print the settings in force as YAML (secrets hidden), or the names of their variables.

    Example: tocsin settings > tocsin.yaml; TOCSIN_CONFIG=tocsin.yaml tocsin worker
    """
    with errors_told():
        settings = settings_for_command()
        if names:
            for name in _variables(Settings, "TOCSIN_"):
                typer.echo(name)
        else:
            data = settings.model_dump(mode="json", exclude={"config"})
            typer.echo(yaml.safe_dump(data, sort_keys=False), nl=False)


def _variables(model: type[BaseModel], prefix: str) -> list[str]:
    names: list[str] = []
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names += _variables(annotation, f"{prefix}{name.upper()}__")
        else:
            names.append(f"{prefix}{name.upper()}")
    return names
