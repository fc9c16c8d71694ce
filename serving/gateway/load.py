"""Read the gateway's file, and name what is wrong in it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import SecretStr, ValidationError

from serving.errors import GatewayFileError
from serving.gateway.model import GatewayFile

__all__ = ["LoadedGateway", "load_gateway"]

_SIZE_LIMIT = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LoadedGateway:
    """The file, and the upstreams' keys from the environment."""

    file: GatewayFile
    secrets: Mapping[str, SecretStr]


def load_gateway(path: Path, environ: Mapping[str, str] | None = None) -> LoadedGateway:
    """Return what the file says, with the keys that it names taken from the environment.

    Raises:
        GatewayFileError: naming the file, the key, and what was expected.
    """
    environ = os.environ if environ is None else environ
    try:
        file = GatewayFile.model_validate(_read(path))
    except ValidationError as error:
        lines = []
        for item in error.errors(include_url=False, include_input=False):
            place = ".".join(str(part) for part in item["loc"])
            text = item["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {place}: {text}" if place else f"{path}: {text}")
        raise GatewayFileError("\n".join(lines)) from None
    secrets: dict[str, SecretStr] = {}
    for name, upstream in file.upstreams.items():
        if (variable := upstream.api_key_env) is None:
            continue
        value = environ.get(variable, "")
        if not value or not value.isascii() or not value.isprintable():
            raise GatewayFileError(
                f"{path}: upstreams.{name}.api_key_env: the environment variable {variable} "
                "holds no key"
            )
        secrets[name] = SecretStr(value)
    return LoadedGateway(file, secrets)


def _read(path: Path) -> Any:
    try:
        with path.open("rb") as opened:
            data = opened.read(_SIZE_LIMIT + 1)
        if len(data) > _SIZE_LIMIT:
            raise GatewayFileError(f"{path}: larger than {_SIZE_LIMIT} bytes")
        return yaml.safe_load(data.decode())
    except FileNotFoundError:
        raise GatewayFileError(
            f"{path}: no such file; TOCSIN_GATEWAY__CONFIG names the gateway's file"
        ) from None
    except OSError as error:
        raise GatewayFileError(f"{path}: cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise GatewayFileError(f"{path}: not a text in UTF-8") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f":{mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "cannot be parsed"
        raise GatewayFileError(f"{path}{place}: not YAML: {problem}") from None
