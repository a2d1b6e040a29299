"""Commands for orphans."""

from typing import Annotated

import structlog
import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    ORGANIZATION,
    ActorOption,
    AfterOption,
    ReasonOption,
    WabaArgument,
    require_match,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, print_page
from services.scheduler.run_job import run_job
from shared.actions import ownership
from shared.store.connections import views
from shared.store.pool import Conn

log = structlog.get_logger()
app = typer.Typer(help="Manage orphans, WABAs that no organization owns.", no_args_is_help=True)


@app.command("list")
def list_orphans(after: AfterOption = "") -> None:
    """List orphans, by WABA, with what is known about each."""

    async def show_page(conn: Conn) -> None:
        page = await views.orphans(conn, after=after, limit=MAX_SHOWN)
        rows = [
            (row.waba_id, row.state, row.owner_business_id, f"{row.since:%Y-%m-%d %H:%M}",
             str(row.waiting_changes), ", ".join(row.candidates))
            for row in page
        ]  # fmt: skip
        columns = ("WABA", "state", "owner business", "since", "waiting changes", "candidates")
        print_page("Orphans", columns, rows, no_wrap=("WABA", "state"))

    run_job("orphans", in_transaction(show_page))


@app.command("claim")
def claim(
    waba_id: WabaArgument,
    organization_id: Annotated[
        str, typer.Argument(help="The organization that the WABA belongs to.")
    ],
    reason: ReasonOption,
    actor: ActorOption,
) -> None:
    """Give an orphan, and all changes that wait for its owner, to an organization."""

    async def claim_orphan(conn: Conn) -> None:
        await ownership.claim(
            conn,
            require_meta_id("WABA_ID", waba_id),
            require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id),
            actor=actor,
            reason=reason,
        )
        log.info("orphan.claimed", waba_id=waba_id, organization_id=organization_id)

    run_job("orphans", in_transaction(claim_orphan))
