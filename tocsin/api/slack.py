"""Clicks on Slack's buttons: verified, each used once, and turned into commands.

Slack posts a form with one field ``payload`` to the app's interactivity URL and wants an answer
within three seconds. Only a verified click does anything; what it does shows in the message.
"""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import parse_qs

import orjson
import structlog
from pydantic import SecretStr
from starlette.background import BackgroundTasks
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from alerting.identity import incident_in
from alerting.notifiers.slack_buttons import Button, Pressed
from schemas.base import SCHEMA_VERSION
from schemas.clock import Clock
from schemas.command import AckCommand, Command, CommandVia, DecideCommand, SilenceCommand
from tocsin.api.errors import ApiError, RequestError, UnauthorisedError
from tocsin.api.sending import Sends
from tocsin.api.signature import Replays, verify
from tocsin.api.slack_reply import SlackReplies
from tocsin.receiver.bodies import read_body
from tocsin.receiver.errors import BodyTooLargeError

__all__ = ["SlackClicks", "commands_of"]

log = structlog.get_logger(__name__)

_BODY: Final = 256 * 1024
_HOUR_US: Final = 3_600_000_000


class SlackClicks:
    """The endpoint of Slack's interactivity.

    ``approvers`` are the Slack user ids that may approve and reject; everybody when empty.
    ``replies`` tells whoever decided in vain, after the click was answered.
    """

    def __init__(
        self,
        secret: SecretStr,
        sender: Sends,
        clock: Clock,
        approvers: tuple[str, ...] = (),
        replies: SlackReplies | None = None,
    ) -> None:
        self._secret = secret
        self._sender = sender
        self._clock = clock
        self._approvers = frozenset(approvers)
        self._replies = replies
        self._replays = Replays()

    async def clicked(self, request: Request) -> Response:
        """Answer one request: 200 once the broker has what it asks for."""
        signature = request.headers.get("x-slack-signature", "")
        now_us = self._clock()
        taken = False
        after = BackgroundTasks()
        try:
            body = await read_body(request, _BODY)
            timestamp = request.headers.get("x-slack-request-timestamp", "")
            verify(self._secret, timestamp, signature, body, now_us)
            self._replays.take(signature, now_us)
            taken = True
            payload = _payload(body)
            for command in commands_of(payload, now_us, self._approvers):
                await self._sender.send(command)
                if self._replies is not None and isinstance(command, DecideCommand):
                    url = str(payload.get("response_url", ""))
                    after.add_task(self._replies.answer, command, url)
                log.info("clicked", type=command.type, subject=command.subject, by=command.by)
        except BodyTooLargeError as error:
            return JSONResponse({"error": str(error)}, 413)
        except UnauthorisedError as error:
            client = request.client.host if request.client else ""
            log.warning("click_refused", reason=str(error), client=client)
            return JSONResponse({"error": str(error)}, error.status)
        except ApiError as error:
            if taken:  # Slack's own second try, or the same click again, may go well
                self._replays.forget(signature)
            log.warning("click_failed", reason=str(error))
            return JSONResponse({"error": str(error)}, error.status)
        return Response(status_code=200, background=after)


def commands_of(
    payload: dict[str, Any], now_us: int, approvers: frozenset[str] = frozenset()
) -> list[Command]:
    """Return what a verified payload asks for; nothing for what is no click on a button of ours.

    Raises:
        RequestError: a button of ours carries what Tocsin cannot have put there.
        UnauthorisedError: the user may not decide on actions.
    """
    if payload.get("type") != "block_actions":
        return []
    user = payload.get("user")
    user = user if isinstance(user, dict) else {}
    user_id = str(user.get("id", ""))
    by = str(user.get("username") or user.get("name") or user_id)[:200] or "unknown"
    found = []
    for action in payload.get("actions") or []:
        if not isinstance(action, dict) or not str(action.get("action_id")).startswith("tocsin."):
            continue
        try:
            button, pressed = Pressed.read(action)
            found.append(_command(button, pressed, (by, user_id), now_us))
        except ValueError as error:
            raise RequestError(f"actions: {error}") from None
        if button in (Button.APPROVE, Button.REJECT) and approvers and user_id not in approvers:
            raise UnauthorisedError(f"{by} ({user_id}) is none of TOCSIN_API__SLACK_APPROVERS")
    return found


def _command(button: Button, pressed: Pressed, user: tuple[str, str], now_us: int) -> Command:
    name, user_id = user
    common: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "command_id": pressed.command_id(button, user_id),
        "by": f"{name} ({user_id})",
        "via": CommandVia.SLACK,
        "at_us": now_us,
    }
    if button is Button.ACK:
        return AckCommand(**common, subject=pressed.incident_id, reason="acknowledged in Slack")
    if button is Button.SILENCE:
        return SilenceCommand(
            **common,
            subject="s-" + pressed.command_id(button).rsplit("/", 1)[1][:12],
            reason="silenced for an hour in Slack",
            matchers=pressed.matchers,
            starts_us=now_us,
            ends_us=now_us + _HOUR_US,
        )
    if not pressed.action_id or not pressed.proposal:
        raise ValueError("no action to decide on")
    approve = button is Button.APPROVE
    return DecideCommand(
        **common,
        subject=pressed.action_id,
        incident_id=incident_in(pressed.action_id),  # the button may be a group's
        proposal=pressed.proposal,
        approve=approve,
        reason=f"{'approved' if approve else 'rejected'} in Slack",
    )


def _payload(body: bytes) -> dict[str, Any]:
    try:
        (text,) = parse_qs(body.decode(), max_num_fields=10).get("payload", [])
        payload = orjson.loads(text)
    except ValueError:
        raise RequestError("expected a form with one field 'payload', of JSON") from None
    if not isinstance(payload, dict):
        raise RequestError("payload: expected an object")
    return payload
