"""Which requests are reported, and what vLLM calls them inside."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from schemas.event import Operation

__all__ = ["OPERATIONS", "operation_of"]

OPERATIONS: Final[Mapping[str, Operation]] = MappingProxyType(
    {
        "/v1/chat/completions": Operation.CHAT,
        "/v1/completions": Operation.TEXT_COMPLETION,
        "/v1/responses": Operation.RESPONSES,
        "/v1/messages": Operation.MESSAGES,
        "/v1/embeddings": Operation.EMBEDDINGS,
        "/v2/embed": Operation.EMBEDDINGS,
        "/v1/chat/completions/batch": Operation.OTHER,
        "/inference/v1/generate": Operation.OTHER,
        "/v1/audio/transcriptions": Operation.OTHER,
        "/v1/audio/translations": Operation.OTHER,
        "/classify": Operation.OTHER,
        "/pooling": Operation.OTHER,
        "/score": Operation.OTHER,
        "/v1/score": Operation.OTHER,
        "/rerank": Operation.OTHER,
        "/v1/rerank": Operation.OTHER,
        "/v2/rerank": Operation.OTHER,
        "/invocations": Operation.OTHER,
    }
)
"""Paths that make a model compute. Health checks, model lists and tokenizing are no requests."""


def operation_of(scope: Mapping[str, Any]) -> Operation | None:
    """Return what an HTTP scope asks of the model, or None when it asks nothing of it."""
    if scope.get("type") != "http" or scope.get("method") != "POST":
        return None
    path = str(scope.get("path", ""))
    if root := str(scope.get("root_path") or ""):
        path = path.removeprefix(root)
    return OPERATIONS.get(path)
