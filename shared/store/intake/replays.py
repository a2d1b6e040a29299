"""Replays: which dead letters somebody had tried again or discarded, and how far that is."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.store.intake import dead_letters
from shared.store.intake.dead_letters import Letter
from shared.store.pool import Conn

LetterOutcome = Literal["replayed", "discarded"]


@dataclass(frozen=True, slots=True)
class LetterSelection:
    """Open letters with these ids, or else with this fingerprint, that died by then (None: now)."""

    ids: Sequence[UUID] | None
    fingerprint: str | None
    died_until: datetime | None


@dataclass(frozen=True, slots=True)
class Replay:
    """`rate` is letters a second; `skipped` counts letters that could not be replayed."""

    id: UUID
    outcome: LetterOutcome
    selection: LetterSelection
    rate: int
    total: int
    done: int
    skipped: int
    reached: UUID | None
    finished_at: datetime | None


async def count(conn: Conn, selection: LetterSelection) -> int:
    found: int = await conn.fetchval(
        f"SELECT count(*) FROM dead_letters WHERE {_chosen(selection)}",  # noqa: S608 - our own words
        *_arguments(selection),
    )
    return found


async def add(
    conn: Conn, selection: LetterSelection, outcome: LetterOutcome, *, rate: int, actor: str,
    reason: str,
) -> UUID:  # fmt: skip
    """A new replay's id; nothing is replayed yet."""
    id_: UUID = uuid7()
    await conn.execute(
        f"""
        INSERT INTO replays
            (id, ids, fingerprint, died_until, outcome, rate, actor, reason, total)
        SELECT $3, $4, $5, coalesce($2, now()), $6, $7, $8, $9, count(*)
        FROM dead_letters WHERE {_chosen(selection)}
        """,  # noqa: S608 - our own words
        *_arguments(selection),
        id_,
        None if selection.ids is None else list(selection.ids),
        selection.fingerprint,
        outcome,
        rate,
        actor,
        reason,
    )
    return id_


async def get(conn: Conn, replay_id: UUID) -> Replay | None:
    """The replay, locked until the transaction ends."""
    record = await conn.fetchrow(
        """
        SELECT id, outcome, ids, fingerprint, died_until, rate, total, done, skipped, reached,
               finished_at
        FROM replays WHERE id = $1 FOR UPDATE
        """,
        replay_id,
    )
    if record is None:
        return None
    id_, outcome, ids, fingerprint, died_until, *rest = record
    return Replay(id_, outcome, LetterSelection(ids, fingerprint, died_until), *rest)


async def next_letters(conn: Conn, replay: Replay, *, limit: int) -> list[Letter]:
    """The letters behind those the replay has reached, locked until the transaction ends.

    Replays take turns: one that waited for another's letters would find them closed, and none left.
    """
    await conn.execute("SELECT pg_advisory_xact_lock(hashtext('porteiro replays'))")
    ids = await conn.fetch(
        f"""
        SELECT id FROM dead_letters
        WHERE {_chosen(replay.selection)} AND ($3::uuid IS NULL OR id > $3)
        ORDER BY id LIMIT $4 FOR UPDATE
        """,  # noqa: S608 - our own words
        *_arguments(replay.selection),
        replay.reached,
        limit,
    )
    return await dead_letters.by_ids(conn, [record["id"] for record in ids])


async def advance(
    conn: Conn, replay_id: UUID, *, reached: UUID | None, done: int, skipped: int
) -> None:
    """So many letters more are done; without one that was reached, the replay is finished."""
    await conn.execute(
        """
        UPDATE replays
        SET done = done + $3, skipped = skipped + $4, reached = coalesce($2, reached),
            finished_at = CASE WHEN $2::uuid IS NULL THEN now() END
        WHERE id = $1 AND finished_at IS NULL
        """,
        replay_id,
        reached,
        done,
        skipped,
    )


def _chosen(selection: LetterSelection) -> str:
    """A condition on $1 and $2, which are the selection's `_arguments`."""
    by = "fingerprint = $1::text" if selection.ids is None else "id = ANY($1::uuid[])"
    return f"closed_at IS NULL AND died_at <= coalesce($2::timestamptz, now()) AND {by}"


def _arguments(selection: LetterSelection) -> tuple[list[UUID] | str | None, datetime | None]:
    chosen = selection.fingerprint if selection.ids is None else list(selection.ids)
    return chosen, selection.died_until
