"""Faust tables of text: JSON by key, with a changelog, in one partition.

Declared here so that every table is made alike: the topics whose agents write them have one
partition too, which is what puts table and agents on the same worker.
"""

from __future__ import annotations

from collections.abc import MutableMapping

import faust
from faust.tables.manager import TableManager

__all__ = ["Tables", "text_table"]


class Tables(TableManager):  # type: ignore[misc]
    """Faust's tables without the second that it waits for tables declared after the start."""

    async def on_start(self) -> None:
        """Declare the changelogs and recover."""
        await self._update_channels()
        await self.recovery.start()


def text_table(app: faust.App, name: str) -> MutableMapping[str, str]:
    """Return a table whose writes are in its changelog before a later acknowledgement is committed.

    Written outside of a stream as well, so its one partition is chosen by key and not by event.
    """
    return app.Table(  # type: ignore[no-any-return]
        name,
        partitions=1,
        key_type=str,
        value_type=str,
        use_partitioner=True,
        help="JSON by key",
    )
