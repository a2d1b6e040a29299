"""Commands for orphans."""

from typing import Annotated

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    ORGANIZATION,
    AfterOption,
    OnBehalfOption,
    ReasonOption,
    WabaArgument,
    requester,
    require_match,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, Columns, JsonOption, print_page
from services.scheduler.answers import Answer
from services.scheduler.run_job import run_job
from shared.actions import ownership
from shared.store.connections import views
from shared.store.connections.views import Orphan
from shared.store.pool import Conn

app = typer.Typer(help="Manage orphans, WABAs that no organization owns.", no_args_is_help=True)

_COLUMNS: Columns[Orphan] = {
    "WABA": lambda orphan: orphan.waba_id,
    "state": lambda orphan: orphan.state,
    "owner business": lambda orphan: orphan.owner_business_id,
    "since": lambda orphan: orphan.since,
    "waiting changes": lambda orphan: orphan.waiting_changes,
    "candidates": lambda orphan: orphan.candidates,
}


@app.command("list")
def list_orphans(after: AfterOption = "", as_json: JsonOption = False) -> None:
    """List orphans, by WABA, with what is known about each."""

    async def show_page(conn: Conn) -> None:
        page = await views.orphans(conn, after=after, limit=MAX_SHOWN)
        print_page("Orphans (UTC)", _COLUMNS, page, as_json=as_json, following="--after")

    run_job("orphans", in_transaction(show_page))


@app.command("claim")
def claim(
    waba_id: WabaArgument,
    organization_id: Annotated[
        str, typer.Argument(help="The organization that the WABA belongs to.")
    ],
    reason: ReasonOption,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Give an orphan to an organization.

    It gets all changes that wait for the owner.

    Example: porteiro orphans claim 210000000000010 bakery --reason "they called"
    """

    async def claim_orphan(conn: Conn) -> Answer:
        await ownership.claim(
            conn,
            require_meta_id("WABA_ID", waba_id),
            require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id),
            requester(reason, on_behalf_of),
        )
        return Answer(
            "orphan.claimed",
            f"WABA {waba_id} belongs to {organization_id} now. It gets the changes that waited"
            f" within seconds; see `porteiro connections show {waba_id}`.",
            waba_id=waba_id,
            organization_id=organization_id,
        )

    run_job("orphans", in_transaction(claim_orphan))
