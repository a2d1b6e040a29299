"""Organizations, and the businesses they own."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.store.pool import Conn


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization. `wabas` counts the connections it owns."""

    id: str
    display_name: str | None
    created_at: datetime
    business_ids: Sequence[str]
    wabas: int


@dataclass(frozen=True, slots=True)
class ShownAs:
    """How customers are shown the organization. None: not set."""

    display_name: str | None
    logo_url: str | None


async def listed(conn: Conn, *, after: str, limit: int) -> list[Organization]:
    """Return organizations after `after`, in the order of their ids."""
    records = await conn.fetch(
        """
        SELECT id, display_name, created_at,
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


async def add(conn: Conn, organization_id: str) -> bool:
    """Create an organization when it is first named. Return whether it is new."""
    status = await conn.execute(
        "INSERT INTO organizations (id) VALUES ($1) ON CONFLICT DO NOTHING", organization_id
    )
    return status == "INSERT 0 1"


async def shown_as(conn: Conn, organization_id: str) -> ShownAs:
    record = await conn.fetchrow(
        "SELECT display_name, logo_url FROM organizations WHERE id = $1", organization_id
    )
    return ShownAs(**record) if record else ShownAs(None, None)


async def show_as(conn: Conn, organization_id: str, shown: ShownAs) -> bool:
    """Set how customers are shown the organization. What is None stays as it is.

    Return False if there is no such organization.
    """
    status = await conn.execute(
        """
        UPDATE organizations
        SET display_name = coalesce($2, display_name), logo_url = coalesce($3, logo_url)
        WHERE id = $1
        """,
        organization_id,
        shown.display_name,
        shown.logo_url,
    )
    return status == "UPDATE 1"


async def add_business(conn: Conn, organization_id: str, business_id: str) -> bool:
    """Record that an operator confirmed the organization as the business's owner.

    Return whether that is new.
    """
    status = await conn.execute(
        """
        INSERT INTO organization_businesses (organization_id, business_id) VALUES ($1, $2)
        ON CONFLICT DO NOTHING
        """,
        organization_id,
        business_id,
    )
    return status == "INSERT 0 1"


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
