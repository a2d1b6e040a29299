"""Find rows that the processors should have attempted by now, and whether they did since."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shared.store.due import OPEN_STATES
from shared.store.pool import Conn

Table = Literal["webhook_log", "webhook_changes", "follow_ups"]

#: What is due, and was leased by nobody, for longer than $1. Each alternative has an index.
_OVERDUE: dict[Table, Sequence[str]] = {
    "webhook_log": (
        "state = 'unsplit' AND attempts = 0 AND lease_until < now() - $1::interval"
        " AND received_at < now() - $1",
        "state = 'unsplit' AND (attempts > 0 OR interruptions > 0)"
        " AND lease_until < now() - $1::interval",
    ),
    "webhook_changes": (
        "state IN ('pending', 'failed') AND lease_until < now() - $1::interval"
        " AND next_attempt_at < now() - $1",
    ),
    "follow_ups": (
        "state = 'pending' AND lease_until < now() - $1::interval AND due_at < now() - $1",
    ),
}


@dataclass(frozen=True, slots=True)
class OverdueRow:
    """A row, and the end of its last lease: each new lease moves it."""

    table: Table
    id: UUID
    lease_until: datetime


async def find_overdue(conn: Conn, since: timedelta, *, limit: int) -> list[OverdueRow]:
    """Return rows that have been due for longer than `since`, at most `limit` of each kind."""
    rows = []
    for table, conditions in _OVERDUE.items():
        for condition in conditions:
            records = await conn.fetch(
                f"SELECT id, lease_until FROM {table} WHERE {condition} LIMIT $2",
                since,
                limit,
            )
            rows += [OverdueRow(table, record["id"], record["lease_until"]) for record in records]
    return rows


async def count_untouched(conn: Conn, rows: Sequence[OverdueRow]) -> int:
    """Return how many of these rows nobody has leased or finished since they were found."""
    by_table: defaultdict[Table, list[OverdueRow]] = defaultdict(list)
    for row in rows:
        by_table[row.table].append(row)
    count = 0
    for table, found in by_table.items():
        count += await conn.fetchval(
            f"""
            SELECT count(*) FROM {table}
                JOIN unnest($1::uuid[], $2::timestamptz[]) AS found (id, lease_until)
                ON {table}.id = found.id AND {table}.lease_until = found.lease_until
            WHERE state IN {OPEN_STATES[table]}
            """,
            [row.id for row in found],
            [row.lease_until for row in found],
        )
    return count
