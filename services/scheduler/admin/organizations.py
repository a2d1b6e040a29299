"""Commands for organizations."""

from typing import Annotated

import structlog
import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    ORGANIZATION,
    OrganizationArgument,
    require_match,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, print_page
from services.scheduler.run_job import UsageError, run_job
from shared.actions.connection_state import decide_again
from shared.store.connections import organizations
from shared.store.pool import Conn

log = structlog.get_logger()
app = typer.Typer(help="Manage organizations, the company's customers.", no_args_is_help=True)


@app.command("add")
def add_organization(
    organization_id: OrganizationArgument,
    business: Annotated[
        str | None, typer.Option(help="Meta's id of a business that the organization owns.")
    ] = None,
) -> None:
    """Add an organization and, if given, a business that it owns. Safe to repeat."""

    async def add(conn: Conn) -> None:
        await organizations.add(
            conn, require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id)
        )
        if business is not None:
            require_meta_id("--business", business)
            await organizations.add_business(conn, organization_id, business)
            await decide_again(conn, [], [business])
        log.info("organization.added", organization_id=organization_id)

    run_job("organizations", in_transaction(add))


@app.command("remove-business")
def remove_business(
    organization_id: OrganizationArgument,
    business: Annotated[str, typer.Argument(help="Meta's id of the business.")],
) -> None:
    """Remove a business that was entered. One that a login proved counts while that proof does."""

    async def remove(conn: Conn) -> None:
        require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id)
        require_meta_id("BUSINESS", business)
        if not await organizations.remove_business(conn, organization_id, business):
            raise UsageError(["BUSINESS was not entered for this organization"])
        await decide_again(conn, [], [business])
        log.info("organization.business_removed", organization_id=organization_id)

    run_job("organizations", in_transaction(remove))


@app.command("list")
def list_organizations(
    after: Annotated[
        str, typer.Option(help="Only organizations whose id comes after this one.")
    ] = "",
) -> None:
    """List organizations by id, with their businesses and their number of WABAs."""

    async def show_page(conn: Conn) -> None:
        page = await organizations.listed(conn, after=after, limit=MAX_SHOWN)
        rows = [
            (row.id, f"{row.created_at:%Y-%m-%d}", ", ".join(row.business_ids), str(row.wabas))
            for row in page
        ]
        print_page("Organizations", ("organization", "since", "businesses", "WABAs"), rows)

    run_job("organizations", in_transaction(show_page))
