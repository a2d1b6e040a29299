"""Connections: one row a WABA, with its owner, why that is the owner, and its state."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import cast

from uuid_utils.compat import uuid7

from shared.domain.attribution import Basis, Owner, Why
from shared.domain.facts import ConnectionStatus
from shared.domain.numbers import Login
from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class ConnectionRow:
    """The computed part of a connection's row: owner, attribution, status and owner business."""

    waba_id: str
    owner: Owner | None
    attribution: Why
    status: ConnectionStatus
    owner_business_id: str | None
    revision: int = 1


async def ensure(conn: Conn, waba_ids: Collection[str]) -> None:
    """Add a connection for each WABA that has none. It starts as an orphan. Idempotent."""
    await conn.execute(
        """
        INSERT INTO whatsapp_connections (id, waba_id)
        SELECT * FROM unnest($1::uuid[], $2::text[]) ON CONFLICT (waba_id) DO NOTHING
        """,
        [uuid7() for _ in waba_ids],
        sorted(waba_ids),
    )


async def ensure_locked(conn: Conn, waba_id: str) -> ConnectionRow:
    """Return the WABA's connection, locked until the transaction ends; an orphan if it is new."""
    await ensure(conn, [waba_id])
    [row] = await lock(conn, [waba_id])
    return row


async def lock(conn: Conn, waba_ids: Collection[str]) -> list[ConnectionRow]:
    """Return those of these connections that exist, locked until the transaction ends.

    They are locked in the order of their WABA ids.
    """
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
            attribution=record["attribution"],
            status=ConnectionStatus(record["state"], record["reason"]),
            owner_business_id=record["owner_business_id"],
            revision=record["revision"],
        )
        for record in records
    ]


async def save(conn: Conn, connections: Sequence[ConnectionRow]) -> None:
    """Store locked connections. `owned_since` becomes now if the owner or its basis changes, except
    when its ownership has ended."""
    await conn.execute(
        """
        UPDATE whatsapp_connections AS stored SET
            organization_id = new.organization_id, attribution = new.attribution,
            state = new.state, reason = new.reason,
            owner_business_id = new.owner_business_id, revision = new.revision,
            updated_at = now(),
            owned_since = CASE
                WHEN new.organization_id IS NULL THEN NULL
                WHEN stored.organization_id = new.organization_id
                    AND new.attribution IN (stored.attribution, 'former')
                THEN stored.owned_since ELSE now() END
        FROM unnest($1::text[], $2::text[], $3::attribution[], $4::connection_state[], $5::text[],
                    $6::text[], $7::bigint[])
            AS new (waba_id, organization_id, attribution, state, reason, owner_business_id,
                     revision)
        WHERE stored.waba_id = new.waba_id
        """,
        [row.waba_id for row in connections],
        [row.owner.organization_id if row.owner else None for row in connections],
        [row.attribution for row in connections],
        [row.status.state for row in connections],
        [row.status.reason for row in connections],
        [row.owner_business_id for row in connections],
        [row.revision for row in connections],
    )


async def login(conn: Conn, waba_id: str) -> Login:
    """Return what the customer chose in Meta's dialog when they last connected."""
    record = await conn.fetchrow(
        """
        SELECT login_phone_number_id AS phone_number_id, is_coexistence
        FROM whatsapp_connections WHERE waba_id = $1
        """,
        waba_id,
    )
    return Login() if record is None else Login(**record)


async def start_over(conn: Conn, waba_id: str, login: Login) -> None:
    """Store the login and clear `left_behind`: the customer just completed Meta's dialog."""
    await conn.execute(
        """
        UPDATE whatsapp_connections
        SET login_phone_number_id = $2, is_coexistence = $3, left_behind = '{}' WHERE waba_id = $1
        """,
        waba_id,
        login.phone_number_id,
        login.is_coexistence,
    )


async def add_left_behind(conn: Conn, waba_id: str, items: Sequence[str]) -> None:
    """Add items to the list of what stays at Meta after we disconnected."""
    await conn.execute(
        "UPDATE whatsapp_connections SET left_behind = left_behind || $2 WHERE waba_id = $1",
        waba_id,
        list(items),
    )


async def clear_left_behind(conn: Conn, waba_id: str) -> None:
    await conn.execute(
        "UPDATE whatsapp_connections SET left_behind = '{}' WHERE waba_id = $1", waba_id
    )


async def depending_on(
    conn: Conn, waba_ids: Collection[str], business_ids: Collection[str]
) -> list[str]:
    """Return those of these WABAs that have a connection, and the WABAs of these businesses whose
    owner depends on who owns the business."""
    records = await conn.fetch(
        """
        SELECT waba_id FROM whatsapp_connections WHERE waba_id = ANY($1)
        UNION
        SELECT waba_id FROM whatsapp_connections
        WHERE owner_business_id = ANY($2)
            AND attribution NOT IN ('tracking_code', 'claimed', 'former')
        """,
        list(waba_ids),
        list(business_ids),
    )
    return [record["waba_id"] for record in records]
