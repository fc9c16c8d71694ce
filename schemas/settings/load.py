"""Read the settings, or say in which file or variable which key is wrong."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from schemas.errors import SettingsError
from schemas.settings.tree import Settings

__all__ = ["known_variables", "load_settings"]


@cache
def known_variables() -> frozenset[str]:
    """Return the name of each environment variable that is a setting."""
    names: set[str] = set()

    def walk(model: type[BaseModel], prefix: str) -> None:
        for name, field in model.model_fields.items():
            key = f"{prefix}{name}".upper()
            names.add(key)
            if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
                walk(field.annotation, f"{key}__")

    walk(Settings, "TOCSIN_")
    return frozenset(names)


def load_settings(**overrides: Any) -> Settings:
    """Read the settings from arguments, environment and file.

    Raises:
        SettingsError: naming the file or variable, the key, and what was expected.
    """
    known = known_variables()
    strange = sorted(k for k in os.environ if k.startswith("TOCSIN_") and k.upper() not in known)
    if strange:
        raise SettingsError(
            f"environment: {', '.join(strange)}: no such setting; "
            "`tocsin settings --names` lists the known ones"
        )
    path = os.environ.get("TOCSIN_CONFIG")
    if path:
        _check_file(path)
    folder = os.environ.get("TOCSIN_SECRETS_DIR")
    if folder:
        _check_secrets(Path(folder), known)
    try:
        return Settings(**overrides)
    except ValidationError as error:
        raise SettingsError(_explain(error, path)) from None
    except ValueError as error:  # an environment value that should have been JSON
        raise SettingsError(f"environment: {error}") from None


def _check_secrets(folder: Path, known: frozenset[str]) -> None:
    """Raise when the directory that TOCSIN_SECRETS_DIR names holds what is no setting."""
    if not folder.is_dir():
        raise SettingsError(f"environment: TOCSIN_SECRETS_DIR: no such directory: {folder}")
    strange = sorted(
        path.name
        for path in folder.iterdir()
        if path.name.upper().startswith("TOCSIN_") and path.name.upper() not in known
    )
    if strange:
        raise SettingsError(
            f"{folder}: {', '.join(strange)}: no such setting; "
            "`tocsin settings --names` lists the known ones"
        )


def _check_file(path: str) -> None:
    """Raise when the file that TOCSIN_CONFIG names holds no settings."""
    if not Path(path).is_file():
        raise SettingsError(f"environment: TOCSIN_CONFIG: no such file: {path}")
    try:
        data = yaml.safe_load(Path(path).read_text())
    except OSError as error:
        raise SettingsError(f"environment: TOCSIN_CONFIG: {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"{path}: not a text in UTF-8") from None
    except yaml.YAMLError as error:
        raise SettingsError(f"{path}: not YAML: {error}") from None
    if not isinstance(data, dict | None):
        raise SettingsError(f"{path}: not a mapping of settings, such as `tocsin settings` prints")


def _explain(error: ValidationError, path: str | None) -> str:
    lines = []
    for item in error.errors(include_url=False, include_input=False):
        keys = [str(part) for part in item["loc"]]
        variable = "TOCSIN_" + "__".join(keys).upper()
        source = variable if variable in os.environ else (path or "settings")
        lines.append(f"{source}: {'.'.join(keys)}: {item['msg']}")
    return "\n".join(lines)
