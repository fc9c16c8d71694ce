"""The commands' way to the API."""

from __future__ import annotations

from typing import Any, Self

import httpx

from schemas.errors import TocsinError
from schemas.settings import ApiSettings

__all__ = ["ApiClient", "ApiRefusedError"]


class ApiRefusedError(TocsinError):
    """The API does not answer, or answers that it will not."""


class ApiClient:
    """One caller's access to the API, as the settings say where; a context manager."""

    def __init__(self, settings: ApiSettings) -> None:
        host = f"[{settings.host}]" if ":" in settings.host else settings.host
        self._url = settings.url.rstrip("/") or f"http://{host}:{settings.port}"
        token = settings.token.get_secret_value()
        self._client = httpx.Client(
            base_url=self._url,
            headers={"Authorization": f"Bearer {token}"} if token else {},
            timeout=10,
            trust_env=False,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._client.close()

    def get(self, path: str, **query: str) -> dict[str, Any]:
        """Return what is there.

        Raises:
            ApiRefusedError: the API does not answer, or says why not.
        """
        return self._ask("GET", path, params=query)

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        """Ask for something.

        Raises:
            ApiRefusedError: the API does not answer, or says why not.
        """
        return self._ask("POST", path, json=body)

    def _ask(self, method: str, path: str, **options: Any) -> dict[str, Any]:
        try:
            response = self._client.request(method, path, **options)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ApiRefusedError(
                f"no API answers at {self._url}: {error}. `tocsin api` starts one; "
                "TOCSIN_API__URL says where to ask"
            ) from None
        try:
            answer = response.json()
        except ValueError:
            answer = {}
        if response.is_success and isinstance(answer, dict):
            return answer
        said = answer.get("error") if isinstance(answer, dict) else None
        if response.status_code == 401:
            said = f"{said or 'refused'}; TOCSIN_API__TOKEN holds the token"
        raise ApiRefusedError(f"{self._url}: {response.status_code}: {said or response.text[:200]}")
