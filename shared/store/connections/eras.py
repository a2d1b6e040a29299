"""Eras: which organization owned a WABA from when until when, why, and what ended it.

All times are PostgreSQL's. Whoever changes an era has locked the WABA's connection. Whoever opens,
suspends, resumes or ends one requests the follow-up `attribute`.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.domain.attribution import EraBasis, Owner
from shared.domain.facts import whole_second
from shared.store.pool import Conn

#: `disconnected`: from our side. `taken_down`: the customer unshared the WABA, removed our app or
#: deleted the WABA. `replaced`: another organization proved the WABA. `released`: by an operator.
EndReason = Literal["disconnected", "taken_down", "replaced", "released"]


#: The era `$1`, under the lock that `owner_of` skips. An UPDATE alone takes a weaker one.
_LOCKED = "id = (SELECT id FROM connection_eras WHERE id = $1 FOR UPDATE)"


@dataclass(frozen=True, slots=True)
class Era:
    """An organization's ownership of a WABA.

    `proven_at` is when its last login was proven, or when it was claimed. `confirmed_at`: what Meta
    answered says that no takedown before then was true. While `suspended_at` is set, Meta is being
    asked whether the era ended then: what was received since is held.
    """

    id: UUID
    waba_id: str
    organization_id: str
    basis: EraBasis
    began_at: datetime
    proven_at: datetime
    confirmed_at: datetime | None
    suspended_at: datetime | None
    ended_at: datetime | None
    end_reason: EndReason | None

    @property
    def is_open(self) -> bool:
        return self.ended_at is None

    @property
    def is_suspended(self) -> bool:
        return self.is_open and self.suspended_at is not None

    def is_doubted_by(self, takedown_at: datetime) -> bool:
        """Return whether Meta must be asked if this takedown, which Meta dated, ended the era."""
        if not self.is_open or self.is_suspended:
            return False
        is_refuted = self.confirmed_at is not None and takedown_at <= self.confirmed_at
        return not is_refuted and takedown_at >= whole_second(self.proven_at)

    @property
    def owner(self) -> Owner:
        return Owner(self.organization_id, self.basis if self.is_open else "former")


def owner_of(change: str) -> str:
    """Return the query for the organization that owns a change: no row if none does, or not yet.

    The only place that says whose a change is. It is the organization of the era that was open when
    the change was received; if none was, of the next era. `change` is the SQL name of a row with
    `waba_id` and `received_at`.
    The era cannot be suspended, resumed or ended until the transaction ends, so the answer stays
    right. An era of which another transaction does that, or may do it, gives no row, though
    `is_owed` may be true: then the caller requests the follow-up `attribute`, which decides later.
    """
    return f"{_era_of(change)} FOR KEY SHARE SKIP LOCKED"


def is_owed(change: str) -> str:
    """Return the condition that a change belongs to an organization, whoever has locked its era."""
    return f"EXISTS ({_era_of(change)})"


def _era_of(change: str) -> str:
    return f"""
        SELECT organization_id FROM connection_eras
        WHERE id = (
                SELECT id FROM connection_eras AS era
                WHERE era.waba_id = {change}.waba_id
                    AND (era.ended_at IS NULL OR era.ended_at > {change}.received_at)
                ORDER BY era.ended_at LIMIT 1
            )
            AND (ended_at IS NULL OR ended_at > {change}.received_at)
            AND (suspended_at IS NULL OR suspended_at > {change}.received_at)
    """


async def latest(conn: Conn, waba_ids: Collection[str]) -> dict[str, Era]:
    """Return the last era of each of these WABAs, by WABA id: the open one, if there is one."""
    records = await conn.fetch(
        """
        SELECT DISTINCT ON (waba_id) * FROM connection_eras
        WHERE waba_id = ANY($1) ORDER BY waba_id, ended_at DESC
        """,
        list(waba_ids),
    )
    return {record["waba_id"]: Era(**record) for record in records}


async def open_era(conn: Conn, waba_id: str) -> Era | None:
    """Return the WABA's open era."""
    era = (await latest(conn, [waba_id])).get(waba_id)
    return era if era is not None and era.is_open else None


async def lock(conn: Conn, waba_ids: Collection[str]) -> None:
    """Lock the open eras of these WABAs, so that no other transaction's changes are given by them.

    For a transaction that stores changes too: it may wait for another that stores the same ones,
    so it must wait for no era afterwards. The connections are locked.
    """
    await conn.execute(
        """
        SELECT FROM connection_eras WHERE waba_id = ANY($1) AND ended_at IS NULL
        ORDER BY waba_id FOR UPDATE
        """,
        list(waba_ids),
    )


async def history(conn: Conn, waba_id: str) -> list[Era]:
    """Return all eras of the WABA, the oldest first."""
    records = await conn.fetch(
        "SELECT * FROM connection_eras WHERE waba_id = $1 ORDER BY ended_at", waba_id
    )
    return [Era(**record) for record in records]


async def proven_wabas(conn: Conn, organization_id: str) -> set[str]:
    """Return the WABAs whose open era the organization proved."""
    records = await conn.fetch(
        """
        SELECT waba_id FROM connection_eras
        WHERE organization_id = $1 AND ended_at IS NULL AND basis = 'tracking_code'
        """,
        organization_id,
    )
    return {record["waba_id"] for record in records}


async def begin(
    conn: Conn, waba_id: str, organization_id: str, basis: EraBasis, proven_at: datetime
) -> None:
    """Open an era. The WABA's last era must have ended."""
    await conn.execute(
        """
        INSERT INTO connection_eras
            (id, waba_id, organization_id, basis, began_at, proven_at)
        VALUES ($1, $2, $3, $4, clock_timestamp(), $5)
        """,
        uuid7(),
        waba_id,
        organization_id,
        basis,
        proven_at,
    )


async def renew(conn: Conn, era: Era, proven_at: datetime) -> None:
    """Record that a login proved the open era once more. It goes on without a gap."""
    await conn.execute(
        f"""
        UPDATE connection_eras
        SET basis = 'tracking_code', proven_at = greatest(proven_at, $2), suspended_at = NULL
        WHERE {_LOCKED}
        """,
        era.id,
        proven_at,
    )


async def suspend(conn: Conn, era: Era) -> None:
    """Hold what is received from now on, until Meta says whether the era has ended."""
    await conn.execute(
        f"UPDATE connection_eras SET suspended_at = clock_timestamp() WHERE {_LOCKED}", era.id
    )


async def confirm(conn: Conn, era: Era, until: datetime) -> None:
    """Record that no takedown before `until` was true. A suspended era goes on without a gap.

    An era that is not suspended gives changes away meanwhile.
    """
    which = _LOCKED if era.is_suspended else "id = $1"
    await conn.execute(
        f"""
        UPDATE connection_eras
        SET suspended_at = NULL, confirmed_at = greatest(confirmed_at, $2) WHERE {which}
        """,
        era.id,
        until,
    )


async def end(conn: Conn, era: Era, reason: EndReason) -> None:
    """End an open era: now or, if it is suspended, when it was suspended."""
    await conn.execute(
        f"""
        UPDATE connection_eras
        SET ended_at = coalesce(suspended_at, clock_timestamp()), end_reason = $2 WHERE {_LOCKED}
        """,
        era.id,
        reason,
    )
