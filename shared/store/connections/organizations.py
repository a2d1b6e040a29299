"""Organizations, and the businesses they own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization. `wabas` counts the connections it owns."""

    id: str
    created_at: datetime
    business_ids: Sequence[str]
    wabas: int


async def listed(conn: Conn, *, after: str, limit: int) -> list[Organization]:
    """Return organizations after `after`, in the order of their ids."""
    records = await conn.fetch(
        """
        SELECT id, created_at,
               ARRAY(SELECT business_id FROM business_owners
                     WHERE organization_id = organizations.id ORDER BY 1) AS business_ids,
               (SELECT count(*) FROM whatsapp_connections
                WHERE organization_id = organizations.id) AS wabas
        FROM organizations WHERE id > $1 ORDER BY id LIMIT $2
        """,
        after,
        limit,
    )
    return [Organization(**record) for record in records]


async def exists(conn: Conn, organization_id: str) -> bool:
    return bool(
        await conn.fetchval("SELECT true FROM organizations WHERE id = $1", organization_id)
    )


async def add(conn: Conn, organization_id: str) -> None:
    """Create an organization when it is first named. Idempotent."""
    await conn.execute(
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", organization_id
    )


async def add_business(conn: Conn, organization_id: str, business_id: str) -> None:
    """Record that an operator confirmed the organization as the business's owner. Idempotent."""
    await conn.execute(
        """
        INSERT INTO organization_businesses (organization_id, business_id) VALUES ($1, $2)
        ON CONFLICT DO NOTHING
        """,
        organization_id,
        business_id,
    )


async def remove_business(conn: Conn, organization_id: str, business_id: str) -> bool:
    """Remove a business that an operator entered. Return False if none was entered."""
    status = await conn.execute(
        "DELETE FROM organization_businesses WHERE organization_id = $1 AND business_id = $2",
        organization_id,
        business_id,
    )
    return status == "DELETE 1"


async def owners(conn: Conn, business_ids: Collection[str]) -> dict[str, set[str]]:
    """Return the organizations that own each business, by business id."""
    owners_by_business: dict[str, set[str]] = {}
    for record in await conn.fetch(
        """
        SELECT business_id, organization_id FROM business_owners WHERE business_id = ANY($1)
        """,
        list(business_ids),
    ):
        owners_by_business.setdefault(record["business_id"], set()).add(record["organization_id"])
    return owners_by_business
