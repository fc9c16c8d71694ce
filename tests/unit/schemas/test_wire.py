"""The wire form leaves unknown fields out, so every field that may be unknown needs a default."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import alerting
import schemas
from schemas.base import Message


def _messages() -> list[type[Message]]:
    for package in (schemas, alerting):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            importlib.import_module(module.name)
    found: list[type[Message]] = []
    waiting = list(Message.__subclasses__())
    while waiting:
        cls = waiting.pop()
        found.append(cls)
        waiting.extend(cls.__subclasses__())
    return sorted(found, key=lambda cls: cls.__qualname__)


@pytest.mark.parametrize("message", _messages(), ids=lambda cls: cls.__name__)
def test_what_may_be_unknown_has_a_default(message: type[Message]) -> None:
    for name, field in message.model_fields.items():
        if type(None) in getattr(field.annotation, "__args__", ()):
            assert not field.is_required(), f"{message.__name__}.{name} would be lost on the wire"
