"""Multipart requests: the query and its parameters as form fields, files as temporary tables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from starlette.datastructures import UploadFile
from starlette.requests import Request

from tocsin.embedded.store.errors import EngineError
from tocsin.embedded.store.query import ExternalTable, QueryRequest
from tocsin.embedded.store.statuses import ErrorCode

__all__ = ["with_form"]


async def with_form(request: Request, asked: QueryRequest, limit: int) -> QueryRequest:
    """Add what a multipart form brings to a request.

    Raises:
        EngineError: more than `limit` bytes, or a file without a structure (36).
    """
    text, params, tables = asked.text, dict(asked.params), []
    async with request.form(max_files=64, max_fields=4096, max_part_size=limit) as form:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile):
                if (value.size or 0) > limit:
                    raise EngineError(
                        ErrorCode.QUERY_IS_TOO_LARGE,
                        f"the file {name} is larger than {limit} bytes. (QUERY_IS_TOO_LARGE)",
                    )
                tables.append(_table(name, await value.read(), request.query_params))
            elif name == "query":
                text += value.encode()
            elif name.startswith("param_"):
                params[name.removeprefix("param_")] = value
    return replace(asked, text=text, params=params, external=tuple(tables))


def _table(name: str, data: bytes, query: Mapping[str, str]) -> ExternalTable:
    structure = query.get(f"{name}_structure", "")
    if not structure:
        types = [part.strip() for part in query.get(f"{name}_types", "").split(",")]
        structure = ", ".join(f"_{i} {kind}" for i, kind in enumerate(types, 1) if kind)
    if not structure:
        raise EngineError(
            ErrorCode.BAD_ARGUMENTS,
            f"Neither structure nor types have not been provided for external table {name}. "
            f"Use fields {name}_structure or {name}_types to do so. (BAD_ARGUMENTS)",
        )
    return ExternalTable(name, structure, query.get(f"{name}_format", "TabSeparated"), data)
