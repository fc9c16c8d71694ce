"""The page at /rollout with its forms, and the same for programs at /v1/rollout."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Final
from urllib.parse import parse_qs

import structlog
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from schemas.base import Name
from serving.errors import FlagError, RolloutError
from serving.rollout.machine import Outcome
from tocsin.api.errors import AwayError, RequestError, UnknownError
from tocsin.api.rollout.document import BASE, login_page, message_page
from tocsin.api.rollout.page import rollout_page
from tocsin.api.rollout.view import Rollouts, View, as_json
from tocsin.api.session import COOKIE, LIFETIME_S, Sessions, from_elsewhere
from tocsin.receiver.bodies import read_body
from tocsin.receiver.errors import BodyTooLargeError

__all__ = ["AskAbort", "RolloutPages"]

log = structlog.get_logger(__name__)

_FORM: Final = 16 * 1024
_OURS: Final = Path(str(files("tocsin.api.rollout"))) / "page"
_SHARED: Final = Path(str(files("tocsin.receiver"))) / "page"
_ASSETS: Final = {
    "rollout.css": _OURS,
    "rollout.js": _OURS,
    "theme.js": _SHARED,
    "style.css": _SHARED,
    "bell.svg": _SHARED,
}

# Names and reasons on the page come from anywhere: nothing but our own files is loaded or run.
_HEADERS: Final = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; "
        "require-trusted-types-for 'script'; trusted-types 'none'"
    ),
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class AskAbort(BaseModel):
    """``POST /v1/rollout/abort``: take the canary back to 0 %; ``version`` is the one meant."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    author: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=256)]
    reason: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=500)]
    version: Name


class RolloutPages:
    """The rollout, drawn and steered.

    Args:
        rollouts: where they are read and ended.
        sessions: of browsers.
    """

    def __init__(self, rollouts: Rollouts, sessions: Sessions) -> None:
        self._rollouts = rollouts
        self._sessions = sessions

    def routes(self) -> list[Route]:
        """Return the routes for browsers; each lets in whom it should by itself."""
        return [
            Route(BASE, self._page, methods=["GET"]),
            Route(f"{BASE}/login", self._login, methods=["POST"]),
            Route(f"{BASE}/logout", self._logout, methods=["POST"]),
            Route(f"{BASE}/abort", self._abort, methods=["POST"]),
            *(
                Route(f"{BASE}/{name}", _asset(folder / name), methods=["GET"])
                for name, folder in _ASSETS.items()
            ),
        ]

    async def shown(self, _: Request) -> Response:
        """Answer ``GET /v1/rollout``.

        Raises:
            AwayError: nothing can be said.
        """
        view = await self._view()
        if view.unknown:
            raise AwayError(view.unknown)
        return JSONResponse(as_json(view))

    async def abort(self, asked: AskAbort) -> Response:
        """End the rollout that was meant.

        Raises:
            UnknownError: it is not under way.
            AwayError: the flags cannot be written from here.
        """
        steering, now_us = self._rollouts.steering, self._rollouts.clock()
        try:
            state = await asyncio.to_thread(
                steering.abort, asked.reason, by=asked.author, now_us=now_us, version=asked.version
            )
        except RolloutError as error:
            raise UnknownError(str(error)) from None
        except (FlagError, OSError) as error:
            raise AwayError(
                f"the flags cannot be changed from here: {error}; on the gateway's machine, "
                "`tocsin rollout abort` does the same"
            ) from None
        log.info("rollout_aborted", version=state.version, by=asked.author)
        return JSONResponse({"version": state.version, "outcome": state.outcome})

    async def _page(self, request: Request) -> Response:
        if not self._sessions.holds(_cookie(request)):
            path = BASE + (f"?{request.url.query}" if request.url.query else "")
            return _html(login_page(path=path), 401)
        started = request.query_params.get("started")
        if started is not None and not (started.isascii() and started.isdigit()):
            return _html(message_page("No such rollout", "started: expected microseconds"), 422)
        view = await self._view(None if started is None else int(started[:18]))
        if started is not None and view.state is None and not view.unknown:
            return _html(message_page("No such rollout", "It is not, or no longer, kept."), 404)
        return self._shown(request, view)

    async def _abort(self, request: Request) -> Response:
        if not self._sessions.holds(_cookie(request)):
            return _html(login_page("The session is over; nothing was done."), 401)
        view = await self._view()
        try:
            form = await _form(request)
            subject = _subject(view)
            ours = subject and self._sessions.form_is_ours(
                form.pop("form_token", ""), _cookie(request), subject
            )
            if from_elsewhere(request) or not ours:
                log.warning("form_refused", path=request.url.path)
                text = "Nothing was done: this form was not made for the rollout that runs now."
                return self._shown(request, view, text, 403)
            # The token says which rollout the form was made for.
            await self.abort(AskAbort.model_validate({**form, "version": _version(view)}))
        except ValidationError as error:
            where = ", ".join(".".join(map(str, one["loc"])) for one in error.errors())
            return self._shown(request, view, f"Nothing was done; please fill in: {where}", 422)
        except (UnknownError, AwayError, RequestError) as error:
            return self._shown(
                request, await self._view(), f"Nothing was done: {error}", error.status
            )
        return RedirectResponse(BASE, 303, _HEADERS)

    async def _login(self, request: Request) -> Response:
        try:
            form = await _form(request)
        except RequestError as error:
            return _html(login_page(str(error)), error.status)
        path = form.get("next", BASE)
        path = path if path == BASE or path.startswith(f"{BASE}?") else BASE
        if from_elsewhere(request):
            return _html(login_page("That form came from another page.", path), 403)
        cookie = self._sessions.opened(form.get("token", "")) if self._sessions.needed else ""
        if cookie is None:
            client = request.client.host if request.client else ""
            log.warning("api_refused", path=request.url.path, client=client)
            return _html(login_page("That is not the token.", path), 401)
        response = RedirectResponse(path, 303, _HEADERS)
        response.set_cookie(
            COOKIE,
            cookie,
            max_age=LIFETIME_S,
            path=BASE,
            secure=request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
        return response

    async def _logout(self, request: Request) -> Response:
        response = RedirectResponse(BASE, 303, _HEADERS)
        if not from_elsewhere(request):
            response.delete_cookie(COOKIE, path=BASE)
        return response

    async def _view(self, started_us: int | None = None) -> View:
        return await asyncio.to_thread(self._rollouts.view, started_us)

    def _shown(self, request: Request, view: View, error: str = "", status: int = 200) -> Response:
        token = self._sessions.form_token(_cookie(request), _subject(view))
        text = rollout_page(view, token, error, logout=self._sessions.needed)
        return _html(text, 503 if view.unknown and status == 200 else status)


def _subject(view: View) -> str:
    """Return what an abort form is about; empty when there is nothing to abort."""
    if view.state is None or not view.latest or view.state.outcome is not Outcome.RUNNING:
        return ""
    return f"abort {view.state.started_at_us} {view.state.version}"


def _version(view: View) -> str:
    return "" if view.state is None else view.state.version


def _cookie(request: Request) -> str:
    return request.cookies.get(COOKIE, "")


async def _form(request: Request) -> dict[str, str]:
    """Return the fields of a form.

    Raises:
        RequestError: it is none, too long, or has a field twice.
    """
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media != "application/x-www-form-urlencoded":
        raise RequestError("expected a form")
    try:
        text = (await read_body(request, _FORM)).decode()
        found = parse_qs(text, keep_blank_values=True, max_num_fields=10, strict_parsing=bool(text))
        return {name: value for name, (value,) in found.items()}
    except (ValueError, BodyTooLargeError):
        raise RequestError("expected a form with each field once") from None


def _html(text: str, status: int = 200) -> Response:
    return HTMLResponse(text, status, _HEADERS)


def _asset(path: Path) -> Callable[[Request], Awaitable[Response]]:
    async def asset(_: Request) -> Response:
        # Asked for each time, answered 304: after an upgrade nobody sees the page of yesterday.
        headers = {"X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}
        return FileResponse(path, headers=headers)

    return asset
