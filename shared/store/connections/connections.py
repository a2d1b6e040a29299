"""Connections: a row a WABA, whose it is and why, and in what state."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from uuid_utils.compat import uuid7

from shared.domain.attribution import Basis, Owner, Why
from shared.domain.facts import ConnectionStatus
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """A connection as it is, or is to be."""

    waba_id: str
    owner: Owner | None
    why: Why
    status: ConnectionStatus
    owner_business_id: str | None
    revision: int = 1


async def ensure(conn: Conn, waba_ids: Collection[str]) -> None:
    """A connection for each WABA, an orphan at first. Idempotent."""
    await conn.execute(
        """
        INSERT INTO whatsapp_connections (id, waba_id)
        SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT (waba_id) DO NOTHING
        """,
        [uuid7() for _ in waba_ids],
        sorted(waba_ids),
    )


async def lock(conn: Conn, waba_ids: Collection[str]) -> list[ConnectionRow]:
    """The connections there are, locked in the order of their WABAs until the transaction ends."""
    records = await conn.fetch(
        """
        SELECT waba_id, organization_id, attribution, state, reason, owner_business_id, revision
        FROM whatsapp_connections WHERE waba_id = ANY($1) ORDER BY waba_id FOR UPDATE
        """,
        list(waba_ids),
    )
    return [
        ConnectionRow(
            waba_id=record["waba_id"],
            owner=record["organization_id"]
            and Owner(record["organization_id"], cast("Basis", record["attribution"])),
            why=record["attribution"],
            status=ConnectionStatus(record["state"], record["reason"]),
            owner_business_id=record["owner_business_id"],
            revision=record["revision"],
        )
        for record in records
    ]


async def save(conn: Conn, connections: Sequence[ConnectionRow]) -> None:
    """Write locked connections back. `owned_since` moves where the owner or its basis does."""
    await conn.execute(
        """
        UPDATE whatsapp_connections AS held SET
            organization_id = told.organization_id, attribution = told.attribution,
            state = told.state, reason = told.reason,
            owner_business_id = told.owner_business_id, revision = told.revision,
            updated_at = now(),
            owned_since = CASE
                WHEN told.organization_id IS NULL THEN NULL
                WHEN (held.organization_id, held.attribution)
                    IS NOT DISTINCT FROM (told.organization_id, told.attribution)
                THEN held.owned_since ELSE now() END,
            is_stamping = held.is_stamping OR (
                told.attribution = 'tracking_code' AND held.attribution <> 'tracking_code')
        FROM unnest($1::text[], $2::text[], $3::attribution[], $4::connection_state[], $5::text[],
                    $6::text[], $7::bigint[])
            AS told (waba_id, organization_id, attribution, state, reason, owner_business_id,
                     revision)
        WHERE held.waba_id = told.waba_id
        """,
        [one.waba_id for one in connections],
        [one.owner.organization_id if one.owner else None for one in connections],
        [one.why for one in connections],
        [one.status.state for one in connections],
        [one.status.reason for one in connections],
        [one.owner_business_id for one in connections],
        [one.revision for one in connections],
    )


async def is_coexistence(conn: Conn, waba_id: str) -> bool:
    """Whether its numbers stay on the WhatsApp Business app, as Meta's dialog said."""
    return bool(
        await conn.fetchval(
            "SELECT is_coexistence FROM whatsapp_connections WHERE waba_id = $1", waba_id
        )
    )


async def start_over(conn: Conn, waba_id: str, *, is_coexistence: bool) -> None:
    """The customer has just been through Meta's dialog: what was left behind before is no more."""
    await conn.execute(
        """
        UPDATE whatsapp_connections SET is_coexistence = $2, left_behind = '{}' WHERE waba_id = $1
        """,
        waba_id,
        is_coexistence,
    )


async def withdraw(conn: Conn, waba_id: str) -> None:
    """Its owner's time is over: what was received until now is theirs, and nothing after."""
    await conn.execute(
        "UPDATE whatsapp_connections SET withdrawn_at = now(), is_stamping = true"
        " WHERE waba_id = $1",
        waba_id,
    )


async def add_left_behind(conn: Conn, waba_id: str, what: Sequence[str]) -> None:
    """What stays at Meta after we disconnect, beside what was noted before."""
    await conn.execute(
        "UPDATE whatsapp_connections SET left_behind = left_behind || $2 WHERE waba_id = $1",
        waba_id,
        list(what),
    )


async def clear_left_behind(conn: Conn, waba_id: str) -> None:
    await conn.execute(
        "UPDATE whatsapp_connections SET left_behind = '{}' WHERE waba_id = $1", waba_id
    )


async def without_owner(conn: Conn, *, limit: int) -> list[str]:
    """WABAs without an owner that may have one by now.

    In no order: none waits for ever behind those that stay undecided.
    """
    records = await conn.fetch(
        """
        SELECT waba_id FROM whatsapp_connections
        WHERE attribution IN ('no_owner_known', 'another_onboarding') AND EXISTS (
            SELECT FROM organization_businesses WHERE business_id = owner_business_id
        )
        ORDER BY random() LIMIT $1
        """,
        limit,
    )
    return [record["waba_id"] for record in records]
