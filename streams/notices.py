"""What the dispatcher remembers: incidents, their groups and what was asked, as rows of a table.

Everything is parsed once and kept beside the table; groups that are due are found without looking
at the others.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, MutableMapping, Sequence
from typing import Final

from alerting.grouping import Group, Member, StormGate
from alerting.inhibit import Inhibition, Inhibitor

__all__ = ["Notices"]

_GROUP: Final = "group:"
_MEMBER: Final = "member:"
_ENDED: Final = "ended:"
_COMMAND: Final = "command:"
_GATE: Final = "gate"


class Notices:
    """Groups, members, ended incidents and commands over one table of text."""

    def __init__(
        self, table: MutableMapping[str, str], inhibitions: Sequence[Inhibition] = ()
    ) -> None:
        self._table = table
        self._inhibitions = inhibitions
        self._loaded = False
        self._groups: dict[str, Group] = {}
        self._named: dict[str, str] = {}
        self._members: dict[str, Member] = {}
        self._in_group: dict[str, dict[str, None]] = {}
        self._due: list[tuple[int, str]] = []
        self._inhibitor = Inhibitor(inhibitions)
        self._gate = StormGate()

    def forget(self) -> None:
        """Read everything anew when next asked: the table may be another worker's by now."""
        self._loaded = False

    def inhibit(self, inhibitions: Sequence[Inhibition]) -> None:
        """Put other inhibitions in force."""
        self._inhibitions = inhibitions
        self.forget()

    @property
    def inhibitor(self) -> Inhibitor:
        """Return what the open incidents inhibit."""
        self._load()
        return self._inhibitor

    @property
    def gate(self) -> StormGate:
        """Return when new messages began lately."""
        self._load()
        return self._gate

    @gate.setter
    def gate(self, gate: StormGate) -> None:
        self._gate = gate
        self._table[_GATE] = gate.to_json().decode()

    def member(self, incident_id: str) -> Member | None:
        """Return an incident that is known."""
        self._load()
        return self._members.get(incident_id)

    def members(self, group: str) -> Sequence[Member]:
        """Return the incidents of a group, in the order of their coming."""
        self._load()
        return [self._members[one] for one in self._in_group.get(group, {})]

    def put(self, member: Member) -> None:
        """Keep an incident's newest state."""
        self._load()
        self._keep(member)
        self._table[_MEMBER + member.intent.incident_id] = member.to_json().decode()

    def end(self, member: Member, now_us: int) -> None:
        """Forget an incident but for its name, against intents that come again."""
        name = member.intent.incident_id
        self._table[_ENDED + name] = str(now_us)
        del self._table[_MEMBER + name]
        del self._members[name]
        self._in_group.get(member.group, {}).pop(name, None)
        self._inhibitor.discard(name, member.labels)

    def ended_us(self, incident_id: str) -> int | None:
        """Return when the end of an incident was dealt with; None while it goes on."""
        self._load()
        text = self._table.get(_ENDED + incident_id)
        return int(text) if text and incident_id not in self._members else None

    def group(self, key: str) -> Group | None:
        """Return a group by its key."""
        self._load()
        return self._groups.get(key)

    def group_named(self, dedup_key: str) -> Group | None:
        """Return a group by its message's name."""
        self._load()
        return self._groups.get(self._named.get(dedup_key, ""))

    def groups(self) -> Sequence[Group]:
        """Return every group."""
        self._load()
        return list(self._groups.values())

    def put_group(self, group: Group) -> None:
        """Keep a group."""
        self._load()
        if self._groups.get(group.key) == group:
            return
        self._keep_group(group)
        self._table[_GROUP + group.key] = group.to_json().decode()

    def drop_group(self, key: str) -> None:
        """Forget a group that has no incidents left."""
        group = self._groups.pop(key, None)
        if group is not None:
            self._named.pop(group.dedup_key, None)
        self._in_group.pop(key, None)
        if _GROUP + key in self._table:
            del self._table[_GROUP + key]

    def due(self, now_us: int) -> Iterator[Group]:
        """Yield the groups that are due, the longest due first."""
        self._load()
        while self._due and self._due[0][0] <= now_us:
            at_us, key = heapq.heappop(self._due)
            group = self._groups.get(key)
            if group is not None and group.next_us == at_us:
                yield group

    def next_us(self) -> int | None:
        """Return when the next group is due; None without groups."""
        self._load()
        while self._due:
            at_us, key = self._due[0]
            group = self._groups.get(key)
            if group is not None and group.next_us == at_us:
                return at_us
            heapq.heappop(self._due)
        return None

    def commanded(self, command_id: str) -> bool:
        """Tell whether a command was carried out."""
        return _COMMAND + command_id in self._table

    def remember(self, command_id: str, at_us: int) -> None:
        """Note that a command was carried out."""
        self._table[_COMMAND + command_id] = str(at_us)

    def tidy(self, before_us: int) -> None:
        """Forget what was over before a time."""
        for key, text in list(self._table.items()):
            if key.startswith((_ENDED, _COMMAND)) and int(text) < before_us:
                del self._table[key]

    def _load(self) -> None:
        if self._loaded:
            return
        self._loaded = True
        self._groups, self._named, self._members, self._in_group = {}, {}, {}, {}
        self._due = []
        self._inhibitor = Inhibitor(self._inhibitions)
        gate = self._table.get(_GATE)
        self._gate = StormGate.model_validate_json(gate) if gate else StormGate()
        for key, text in list(self._table.items()):
            if key.startswith(_MEMBER):
                self._keep(Member.model_validate_json(text))
            elif key.startswith(_GROUP):
                self._keep_group(Group.model_validate_json(text))

    def _keep(self, member: Member) -> None:
        name = member.intent.incident_id
        before = self._members.get(name)
        if before is not None and before.group != member.group:
            self._in_group.get(before.group, {}).pop(name, None)
        if before is not None and before.labels != member.labels:  # its severity grew
            self._inhibitor.discard(name, before.labels)
        self._members[name] = member
        self._in_group.setdefault(member.group, {})[name] = None
        if member.open:
            self._inhibitor.add(name, member.labels)
        else:
            self._inhibitor.discard(name, member.labels)

    def _keep_group(self, group: Group) -> None:
        self._groups[group.key] = group
        self._named[group.dedup_key] = group.key
        heapq.heappush(self._due, (group.next_us, group.key))
