"""One HTTP request to a receiver, and what its answer means for the next try."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Final

import httpx
from pydantic import SecretStr

from alerting.errors import NotifyRefused, NotifyRetryable
from alerting.notifiers.retry_after import parse_retry_after
from alerting.notifiers.text import clip, masked

__all__ = ["post"]

_PASSING: Final = frozenset(
    {
        httpx.codes.REQUEST_TIMEOUT,
        httpx.codes.TOO_EARLY,
        httpx.codes.TOO_MANY_REQUESTS,
    }
)


class _HostsOnly(logging.Filter):
    """Keep paths out of httpx's own log: that of an incoming webhook is its secret."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.args, tuple):
            record.args = tuple(
                f"{arg.scheme}://{arg.netloc.decode()}/..." if isinstance(arg, httpx.URL) else arg
                for arg in record.args
            )
        return True


logging.getLogger("httpx").addFilter(_HostsOnly())


async def post(
    client: httpx.AsyncClient,
    name: str,
    url: str,
    body: bytes,
    *,
    headers: Mapping[str, str] | None = None,
    secrets: Sequence[SecretStr] = (),
) -> httpx.Response:
    """Post JSON and return the answer, which is a success.

    Args:
        client: does not follow redirects: a page goes where the settings say.
        name: the receiver's, for the errors.
        url: whole; it may hold a secret.
        body: JSON.
        headers: beside Content-Type.
        secrets: never shown in an error.

    Raises:
        NotifyRetryable: a network fault, 408, 425, 429 or 5xx.
        NotifyRefused: any other answer.
    """
    given = {"Content-Type": "application/json", **(headers or {})}
    try:
        response = await client.post(url, content=body, headers=given)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        said = masked(f"{type(error).__name__}: {error}", secrets)
        if isinstance(error, (httpx.UnsupportedProtocol, httpx.InvalidURL)):
            raise NotifyRefused(f"{name}: {said}") from None
        raise NotifyRetryable(f"{name}: {said}") from None
    if response.is_success:
        return response
    status = response.status_code
    said = f"{name}: {status}: {clip(masked(response.text, secrets), 300)}"
    if status in _PASSING or status >= 500:
        raise NotifyRetryable(said, parse_retry_after(response.headers.get("Retry-After")))
    raise NotifyRefused(said)
