"""Commands for organizations."""

import re
from typing import Annotated

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    NO_REASON,
    ORGANIZATION,
    OnBehalfOption,
    OrganizationArgument,
    ReasonOption,
    requester,
    require_match,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, Columns, JsonOption, print_page
from services.scheduler.answers import Answer
from services.scheduler.run_job import UsageError, run_job
from shared.actions.connection_state import decide_again
from shared.store import audit
from shared.store.connections import organizations
from shared.store.connections.organizations import Organization, ShownAs
from shared.store.pool import Conn

app = typer.Typer(help="Manage organizations, the company's customers.", no_args_is_help=True)

_NAME = re.compile(r"[^\x00-\x1f\x7f]{1,80}")
_LOGO = re.compile(r"https://[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?/[!-~]{1,1000}")
_COLUMNS: Columns[Organization] = {
    "organization": lambda organization: organization.id,
    "shown as": lambda organization: organization.display_name,
    "since": lambda organization: organization.created_at.date(),
    "WABAs": lambda organization: organization.wabas,
    "businesses": lambda organization: organization.business_ids,
}


@app.command("add")
def add_organization(
    organization_id: OrganizationArgument,
    business: Annotated[
        str | None, typer.Option(help="Meta's id of a business that the organization owns.")
    ] = None,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Add an organization and, if given, a business that it owns. Safe to repeat."""

    async def add(conn: Conn) -> Answer:
        require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id)
        is_new = await organizations.add(conn, organization_id)
        subject = organization_id
        if business is not None:
            require_meta_id("--business", business)
            is_new |= await organizations.add_business(conn, organization_id, business)
            await decide_again(conn, [], [business])
            subject += f", business {business}"
        if is_new:
            asked = requester(reason, on_behalf_of)
            await audit.add(conn, asked, action="organization.add", subject=subject)
        return Answer(
            "organization.added",
            f"The organization {subject} is {'added' if is_new else 'known already'}.",
            organization_id=organization_id,
        )

    run_job("organizations", in_transaction(add))


@app.command("show-as")
def show_organization_as(
    organization_id: OrganizationArgument,
    name: Annotated[
        str | None, typer.Option(help="The name that customers read on the page.")
    ] = None,
    logo: Annotated[
        str | None, typer.Option(help="The https URL of its logo, a square picture.")
    ] = None,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Set the name and logo that customers see.

    They see them on the page where they connect.
    """

    async def show_as(conn: Conn) -> Answer:
        if name is None and logo is None:
            raise UsageError(["give --name or --logo"])
        if name is not None:
            require_match(_NAME, "--name", name)
        if logo is not None:
            require_match(_LOGO, "--logo", logo)
        if not await organizations.show_as(conn, organization_id, ShownAs(name, logo)):
            raise UsageError(["there is no such organization: add it first"])
        await audit.add(
            conn,
            requester(reason, on_behalf_of),
            action="organization.show_as",
            subject=organization_id,
        )
        return Answer(
            "organization.shown",
            f"Customers see {organization_id} like this from now on.",
            organization_id=organization_id,
        )

    run_job("organizations", in_transaction(show_as))


@app.command("remove-business")
def remove_business(
    organization_id: OrganizationArgument,
    business: Annotated[str, typer.Argument(help="Meta's id of the business.")],
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Remove a business that was entered. One that a login proved counts while that proof does."""

    async def remove(conn: Conn) -> Answer:
        require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id)
        require_meta_id("BUSINESS", business)
        if not await organizations.remove_business(conn, organization_id, business):
            raise UsageError(["BUSINESS was not entered for this organization"])
        await audit.add(
            conn,
            requester(reason, on_behalf_of),
            action="organization.remove_business",
            subject=f"{organization_id}, business {business}",
        )
        await decide_again(conn, [], [business])
        return Answer(
            "organization.business_removed",
            f"The business {business} is removed from {organization_id}.",
            organization_id=organization_id,
        )

    run_job("organizations", in_transaction(remove))


@app.command("list")
def list_organizations(
    after: Annotated[
        str, typer.Option(help="Only organizations whose id comes after this one.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """List organizations by id, with businesses and WABAs."""

    async def show_page(conn: Conn) -> None:
        page = await organizations.listed(conn, after=after, limit=MAX_SHOWN)
        print_page("Organizations (UTC)", _COLUMNS, page, as_json=as_json, following="--after")

    run_job("organizations", in_transaction(show_page))
