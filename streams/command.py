"""Carry out what people ask on ``llm.commands``, each command once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from alerting.intent import Acknowledgement
from schemas.command import (
    AckCommand,
    Command,
    DecideCommand,
    ExpireCommand,
    SilenceCommand,
    command_message,
)
from schemas.topics import Topics
from streams import metrics
from streams.dispatch import DispatchAgent
from streams.letters import Publishes
from streams.refused import refused
from streams.retry import until_done
from streams.silences import Silences

__all__ = ["Acknowledges", "CommandAgent", "Decides"]

log = structlog.get_logger(__name__)

Acknowledges = Callable[[str, str, int, str], Awaitable[object]]
"""Takes incident id, author, time in microseconds and reason."""

Decides = Callable[[DecideCommand], Awaitable[object]]


class CommandAgent:
    """Changes what the dispatcher knows, in the order of the commands.

    ``acknowledges`` lets the alert itself know who looks after an incident, and since when;
    ``decides`` what somebody decided on its action: whether that counts, the alert alone knows.
    """

    def __init__(
        self,
        dispatch: DispatchAgent,
        silences: Silences,
        publisher: Publishes,
        acknowledges: Acknowledges | None = None,
        decides: Decides | None = None,
    ) -> None:
        self._dispatch = dispatch
        self._notices = dispatch.notices
        self._silences = silences
        self._publisher = publisher
        self._acknowledges = acknowledges
        self._decides = decides

    async def run(self, stream: Any) -> None:
        """Carry out ``llm.commands`` for ever; the Faust agent's body."""
        async for event in stream.noack().events():
            try:
                await self.on_command(command_message.validate_json(event.value or b""))
            except ValueError as error:  # pydantic's is one
                # A ValidationError says which field; others of ours say what was expected.
                refused(Topics.COMMANDS, event.message.offset, str(error))
            except Exception as error:
                log.exception("command_fails")
                refused(Topics.COMMANDS, event.message.offset, type(error).__name__)
            metrics.RECORDS.labels(topic=Topics.COMMANDS.name).inc()
            event.ack()

    async def on_command(self, command: Command) -> None:
        """Carry a command out; what was carried out already changes nothing.

        Raises:
            ValueError: a silence's matchers cannot be used.
        """
        notices = self._notices
        if notices.commanded(command.command_id):
            log.info("command_repeated", command=command.type, id=command.command_id)
            if isinstance(command, AckCommand) and self._acknowledges is not None:
                # The alert's own table may have lost what this one knows; it takes the first alone.
                subject, by, reason = command.subject, command.by, command.reason
                await self._acknowledges(subject, by, command.at_us, reason)
            return
        match command:
            case SilenceCommand():
                self._silences.add(command)
            case ExpireCommand():
                if not self._silences.expire(command.subject, command.at_us):
                    log.warning("no_such_silence", silence=command.subject, by=command.by)
                self._dispatch.look_at(lambda group: group.alone)
            case AckCommand():
                await self._acknowledge(command)
            case DecideCommand():
                if self._decides is not None:
                    await self._decides(command)
        notices.remember(command.command_id, command.at_us)
        self._dispatch.wake()  # a silence has an end to wait for

    async def _acknowledge(self, command: AckCommand) -> None:
        member = self._notices.member(command.subject)
        if member is None:
            await self._acknowledge_group(command)
            return
        if member.acknowledged is not None or not member.open:
            log.info("acknowledged_already", incident=command.subject, by=command.by)
            return
        ack = Acknowledgement(by=command.by, at_us=command.at_us, reason=command.reason)
        self._notices.put(member.model_copy(update={"acknowledged": ack}))
        self._dispatch.look_at(lambda group: group.key == member.group)
        if self._acknowledges is not None:
            subject, by, reason = command.subject, command.by, command.reason
            await self._acknowledges(subject, by, command.at_us, reason)

    async def _acknowledge_group(self, command: AckCommand) -> None:
        """Ask for each incident's own acknowledgement: so each is a row for who asks later."""
        group = self._notices.group_named(command.subject)
        if group is None:
            log.warning("no_such_incident", subject=command.subject, by=command.by)
            return
        items = [
            (
                one.intent.incident_id,
                command.model_copy(
                    update={
                        "subject": one.intent.incident_id,
                        "command_id": f"{command.command_id}/{one.name}",
                    }
                ),
            )
            for one in self._notices.members(group.key)
            if one.open and one.acknowledged is None
        ]
        await until_done("acks", lambda: self._publisher.send_many(Topics.COMMANDS, items))
