"""One upstream: where it is, how it is asked, and how busy it is with our requests."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Mapping
from typing import Final

import aiohttp
from multidict import CIMultiDict
from pydantic import SecretStr
from yarl import URL

from schemas.settings import GatewaySettings
from serving.emit.joined import JOIN_HEADER
from serving.gateway.anthropic.dialect import AnthropicDialect
from serving.gateway.dialect import Dialect, OpenAIDialect, Wording
from serving.gateway.model import UpstreamEntry

__all__ = ["Upstream", "open_session"]

_ALWAYS: Final = (
    b"accept",
    b"anthropic-beta",
    b"anthropic-version",
    b"openai-beta",
    b"traceparent",
    b"tracestate",
    b"user-agent",
    b"x-request-id",
)
"""Client headers that go on to every upstream; no keys, cookies or users' names."""

_TO_JOINED: Final = (b"x-tocsin-feature", b"x-tocsin-user", b"x-tocsin-plan")
_LARGE: Final = 512 * 1024
_MAX_TOKENS: Final = 4_096


def open_session(settings: GatewaySettings) -> aiohttp.ClientSession:
    """Return the connections to all upstreams.

    What comes is not unpacked, no cookie is kept, and no proxy or password of the environment is
    used. Connections are given up before the upstream does so.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(
            limit=0, keepalive_timeout=settings.upstream_keepalive_s, ttl_dns_cache=30
        ),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
        trust_env=False,
        skip_auto_headers=("User-Agent", "Accept-Encoding"),
    )


class Upstream:
    """Asks one upstream.

    Args:
        name: in the gateway's file.
        entry: what the file says.
        settings: the gateway's timeouts.
        session: the connections.
        key: its API key.
        token: proves to a joined server that a gateway asks.
        wall_ns: UTC nanoseconds.
    """

    def __init__(
        self,
        name: str,
        entry: UpstreamEntry,
        settings: GatewaySettings,
        session: aiohttp.ClientSession,
        *,
        key: SecretStr | None = None,
        token: SecretStr | None = None,
        wall_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self.name = name
        self.entry = entry
        self.dialect = _dialect(entry, wall_ns)
        self.inflight = 0
        base = URL(entry.base_url.rstrip("/") + "/")
        self.address = base.authority
        self._base = base
        self._urls: dict[str, URL] = {}
        self._session = session
        self._forward = frozenset(_ALWAYS) | {h.lower().encode() for h in entry.forward_headers}
        self._own = [("Content-Type", "application/json"), ("Accept-Encoding", "identity")]
        self._own += self.dialect.credentials(key)
        if entry.joined:
            self._forward |= set(_TO_JOINED)
            if token is not None and token.get_secret_value():
                self._own.append((JOIN_HEADER.decode(), token.get_secret_value()))
        first, whole = settings.first_token_timeout_s, settings.answer_timeout_s
        connect, idle = settings.connect_timeout_s, settings.idle_timeout_s
        # The time to the first token has a limit of its own, so the pause between two reads only
        # has to be caught after it.
        self._timeouts = {
            True: aiohttp.ClientTimeout(None, sock_connect=connect, sock_read=max(first, idle)),
            False: aiohttp.ClientTimeout(None, sock_connect=connect, sock_read=whole),
        }

    def __repr__(self) -> str:
        return f"Upstream({self.name!r}, {self.address!r})"  # nothing secret

    def headers(
        self, wording: Wording, client: list[tuple[bytes, bytes]], *, strict: bool
    ) -> CIMultiDict[str]:
        """Return the headers of a request, from the client's and the upstream's own."""
        found: CIMultiDict[str] = CIMultiDict(self._own)
        for name, value in client:
            if name in self._forward:
                text = value.decode("latin-1")
                if text.isprintable():  # what h11 lets through but aiohttp would refuse
                    found[name.decode("latin-1")] = text
        if strict:
            found[self.entry.guardrail_header] = "strict"
        for header, own in wording.headers.items():
            found.popall(header, None)
            if own is not None:
                found[header] = own
        return found

    async def ask(
        self, path: str, body: bytes, headers: Mapping[str, str], *, stream: bool
    ) -> aiohttp.ClientResponse:
        """Send a request and return the head of the answer.

        Raises:
            aiohttp.ClientError, TimeoutError: there is none.
        """
        url = self._urls.get(path)
        if url is None:
            url = self._urls[path] = self._base.joinpath(path.removeprefix("/v1/"))
        return await self._session.post(
            url,
            data=body if len(body) < _LARGE else io.BytesIO(body),
            headers=headers,
            timeout=self._timeouts[stream],
            allow_redirects=False,
        )


def _dialect(entry: UpstreamEntry, wall_ns: Callable[[], int]) -> Dialect:
    if entry.api == "anthropic":
        return AnthropicDialect(max_tokens=entry.max_tokens or _MAX_TOKENS, wall_ns=wall_ns)
    return OpenAIDialect()
