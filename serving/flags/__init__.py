"""Flags: the desired state of serving, in one file that OpenFeature reads, and in `llm.flags`."""

from __future__ import annotations

from serving.flags.document import Flag, FlagDocument, parse_document
from serving.flags.history import Change, ChangeKind, last_good
from serving.flags.initial import initial_document
from serving.flags.publish import FlagPublisher, flag_value
from serving.flags.reader import FlagReader
from serving.flags.store import FlagStore

__all__ = [
    "Change",
    "ChangeKind",
    "Flag",
    "FlagDocument",
    "FlagPublisher",
    "FlagReader",
    "FlagStore",
    "flag_value",
    "initial_document",
    "last_good",
    "parse_document",
]
