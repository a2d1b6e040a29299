"""The people that changes name, by keyed hashes of their ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.crypto import KeyRing, SubjectHasher
from shared.domain.people import person_form
from shared.store.intake.changes import NewChange
from shared.store.pool import Conn

#: Statements that read every key, or look into every minute, of millions of rows.
_MAX_SECONDS = 3600
#: The index of hashes is one of each minute after the other, so that it grows at its end: the first
#: four bytes of a change's UUIDv7 count 65,536 ms.
_MINUTE = "substring(uuid_send(change_id) FOR 4)"


async def add(conn: Conn, hasher: SubjectHasher, changes: Sequence[NewChange]) -> None:
    """Store who new changes name. Call it in the transaction that stored them."""
    rows = [(row.id, hasher.hash(person)) for row in changes for person in row.change.people]
    if rows:
        await conn.execute(
            """
            INSERT INTO change_people (change_id, hash)
            SELECT * FROM unnest($1::uuid[], $2::bytea[])
            """,
            [change_id for change_id, _ in rows],
            [hash_ for _, hash_ in rows],
        )


@dataclass(frozen=True, slots=True)
class Found:
    """Changes that name a person, of one field. `contents` of them still have their content."""

    field: str
    changes: int
    contents: int
    first_received_at: datetime
    last_received_at: datetime


async def find(conn: Conn, hasher: SubjectHasher, bodies: KeyRing, person: str) -> list[Found]:
    """Return where a person is named, by field, under every key. `person` is one of their ids.

    `bodies` finds what versions before this one stored.
    """
    id_ = person_form(person)
    if id_ is None:
        return []
    # These versions hashed one id of a change, as Meta wrote it.
    old_hashes = {hash_ for form in (id_, person) for hash_ in bodies.subject_hashes(form)}
    await _be_patient(conn)
    records = await conn.fetch(
        f"""
        WITH RECURSIVE minutes (minute) AS (
            (SELECT {_MINUTE} FROM change_people ORDER BY 1 LIMIT 1)
            UNION ALL
            SELECT next.minute FROM minutes CROSS JOIN LATERAL (
                SELECT {_MINUTE} AS minute FROM change_people
                WHERE {_MINUTE} > minutes.minute ORDER BY 1 LIMIT 1
            ) AS next
        )
        SELECT coalesce(field, 'unknown') AS field, count(*) AS changes,
               count(content) AS contents, min(received_at) AS first_received_at,
               max(received_at) AS last_received_at
        FROM webhook_changes
        WHERE id IN (SELECT change_id FROM minutes
                         JOIN change_people ON {_MINUTE} = minute AND hash = ANY($1)
                     UNION SELECT id FROM webhook_changes WHERE subject_hash = ANY($2))
        GROUP BY 1 ORDER BY 1
        """,
        hasher.hashes(id_),
        list(old_hashes),
        timeout=_MAX_SECONDS,
    )
    return [Found(**record) for record in records]


@dataclass(frozen=True, slots=True)
class KeyUse:
    """How many hashes rest on a key, and when the last change that has one was received."""

    count: int
    last_received_at: datetime


async def key_uses(conn: Conn) -> Mapping[str, KeyUse]:
    """Return the use of each key that a hash rests on, by the key's id."""
    await _be_patient(conn)
    records = await conn.fetch(
        """
        SELECT encode(substring(hash FOR 4), 'hex') AS key_id, count(*) AS count,
               max(received_at) AS last_received_at
        FROM change_people JOIN webhook_changes ON webhook_changes.id = change_id
        GROUP BY 1 ORDER BY 1
        """,
        timeout=_MAX_SECONDS,
    )
    return {record["key_id"]: KeyUse(record[1], record[2]) for record in records}


async def _be_patient(conn: Conn) -> None:
    """For the rest of the transaction, let a statement read a whole table."""
    await conn.execute("SELECT set_config('statement_timeout', $1, true)", f"{_MAX_SECONDS}s")
