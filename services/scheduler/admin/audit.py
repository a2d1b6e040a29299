"""Commands for the audit log."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import time_option
from services.scheduler.admin.tables import MAX_SHOWN, Columns, JsonOption, print_page
from services.scheduler.run_job import run_job
from shared.store import audit
from shared.store.audit import AuditFilter, AuditRecord
from shared.store.pool import Conn

app = typer.Typer(help="Look at the audit log: who changed what.", no_args_is_help=True)

_COLUMNS: Columns[AuditRecord] = {
    "id": lambda record: record.id,
    "at": lambda record: record.at,
    "action": lambda record: record.action,
    "actor": lambda record: record.actor,
    "on behalf of": lambda record: record.on_behalf_of,
    "subject": lambda record: record.subject,
    "reason": lambda record: record.reason,
}


@app.callback()
def group() -> None:
    """Make `audit` a group: Typer would drop the name of its only command, `list`."""


@app.command("list")
def list_records(
    about: Annotated[
        str | None, typer.Option(help="Only with this in the subject, such as a WABA's id.")
    ] = None,
    actor: Annotated[
        str | None, typer.Option(help="Only with this in the actor, or whom it acted for.")
    ] = None,
    action: Annotated[str | None, typer.Option(help="Only this action.")] = None,
    since: Annotated[datetime | None, time_option("Only what was done then or later")] = None,
    until: Annotated[datetime | None, time_option("Only what was done before")] = None,
    before: Annotated[UUID | None, typer.Option(help="Only records before this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List who changed what, or read content; the newest first.

    Example: porteiro audit list --about 210000000000010 --since 7d
    """
    chosen = AuditFilter(about, actor, action, since, until)

    async def show(conn: Conn) -> None:
        page = await audit.listed(conn, chosen, before=before, limit=MAX_SHOWN)
        print_page("Audit log (UTC)", _COLUMNS, page, as_json=as_json, following="--before")

    run_job("audit", in_transaction(show))
