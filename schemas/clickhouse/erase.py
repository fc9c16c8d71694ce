"""Erase what the store knows of one user."""

from __future__ import annotations

from typing import Final

from clickhouse_connect.driver.client import Client

__all__ = ["erase_user"]

# In this order: judgements are found through the user's requests, so these go last.
_STATEMENTS: Final = (
    "DELETE FROM evals WHERE event_id IN"
    " (SELECT event_id FROM requests WHERE user_id = {user:String})",
    "DELETE FROM feedback WHERE user_id = {user:String} OR request_id IN"
    " (SELECT request_id FROM requests WHERE user_id = {user:String})",
    "DELETE FROM cost_1h WHERE user_id = {user:String}",
    "DELETE FROM signals WHERE labels['user_id'] = {user:String}",
    "DELETE FROM requests WHERE user_id = {user:String}",
)
_SETTINGS: Final = {
    "mutations_sync": 2,
    # The rows that point at requests are found while these are still there, on every replica.
    "allow_nondeterministic_mutations": 1,
}


def erase_user(client: Client, user_id: str) -> int:
    """Delete a user's requests with their texts, judgements, feedback and costs; give their number.

    Nobody sees the rows when this returns; ClickHouse takes them from the disk with its next
    merges. Sums without a user in them (performance_1m, performance_1h, windows) stay. What the
    log still holds and what was refused (dead_letters) ends by its own retention.
    """
    query = "SELECT count() FROM requests WHERE user_id = {user:String}"
    count = client.query(query, parameters={"user": user_id}).result_rows[0][0]
    for statement in _STATEMENTS:
        client.command(statement, parameters={"user": user_id}, settings=_SETTINGS)
    return int(count)
