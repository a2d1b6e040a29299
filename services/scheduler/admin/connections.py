"""Commands for connections."""

from collections.abc import Iterator
from typing import Annotated

import structlog
import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    ActorOption,
    AfterOption,
    ReasonOption,
    WabaArgument,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, print_fields, print_page, print_table
from services.scheduler.run_job import run_job
from shared.actions import connection_requests, disconnection, ownership
from shared.actions.errors import Missing
from shared.domain.attribution import EraBasis
from shared.domain.facts import State
from shared.domain.provisioning import PhoneNumber
from shared.store.connections import eras, numbers, views
from shared.store.connections.eras import EndReason, Era
from shared.store.connections.views import ConnectionView
from shared.store.pool import Conn

log = structlog.get_logger()
app = typer.Typer(
    help="Manage connections, the WABAs of organizations, and their status.", no_args_is_help=True
)


@app.command("list")
def list_connections(
    organization: Annotated[str | None, typer.Option(help="Only of this organization.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    after: AfterOption = "",
) -> None:
    """List connections that have an owner, by WABA."""

    async def show_page(conn: Conn) -> None:
        page = await views.connections(
            conn, organization_id=organization, state=state, after=after, limit=MAX_SHOWN
        )
        rows = [
            (v.waba_id, v.organization_id, v.attribution, v.state, v.why, v.token_state)
            for v in page
        ]
        columns = ("WABA", "organization", "attribution", "state", "reason", "token")
        print_page("Connections", columns, rows, no_wrap=("WABA", "state"))

    run_job("connections", in_transaction(show_page))


@app.command("show")
def show(waba_id: WabaArgument) -> None:
    """Show everything about one connection, and what to do if it does not work."""

    async def show_fields(conn: Conn) -> None:
        view = await _find(conn, waba_id)
        print_fields(_fields(view, await numbers.current(conn, view.waba_id)))

    run_job("connections", in_transaction(show_fields))


@app.command("provision")
def provision(waba_id: WabaArgument) -> None:
    """Provision a connection again. First mend the cause of its failure."""

    async def request(conn: Conn) -> None:
        await connection_requests.request_provisioning(conn, await _find(conn, waba_id))
        log.info("connection.provision_requested", waba_id=waba_id)

    run_job("connections", in_transaction(request))


@app.command("disconnect")
def disconnect(waba_id: WabaArgument, reason: ReasonOption, actor: ActorOption) -> None:
    """Disconnect a connection from our side. Then `show` lists what is left behind at Meta."""

    async def request(conn: Conn) -> None:
        require_meta_id("WABA_ID", waba_id)
        await disconnection.request(conn, waba_id, organization_id=None, actor=actor, reason=reason)
        log.info("connection.disconnect_requested", waba_id=waba_id)

    run_job("connections", in_transaction(request))


@app.command("release")
def release(waba_id: WabaArgument, reason: ReasonOption, actor: ActorOption) -> None:
    """End an organization's ownership without asking Meta, so that another one can connect.

    For a customer who moved to another organization and did not unshare the account at Meta.
    """

    async def end(conn: Conn) -> None:
        require_meta_id("WABA_ID", waba_id)
        await ownership.release(conn, waba_id, actor=actor, reason=reason)
        log.info("connection.released", waba_id=waba_id)

    run_job("connections", in_transaction(end))


@app.command("history")
def history(waba_id: WabaArgument) -> None:
    """Show who owned a WABA from when until when, how that was known, and what ended it."""

    async def show_eras(conn: Conn) -> None:
        require_meta_id("WABA_ID", waba_id)
        if await views.connection(conn, waba_id, organization_id=None) is None:
            raise Missing("no_such_waba", "Nothing is known of this WABA.")
        rows = [
            (f"{era.began_at:%Y-%m-%d %H:%M}",
             f"{era.ended_at:%Y-%m-%d %H:%M}" if era.ended_at else _until(era),
             era.organization_id, _HOW[era.basis], _end_of(era))
            for era in await eras.history(conn, waba_id)
        ]  # fmt: skip
        columns = ("from", "until", "owner", "by", "ended by")
        print_table(f"Owners of {waba_id} (UTC)", columns, rows, no_wrap=("from", "until"))

    run_job("connections", in_transaction(show_eras))


_HOW: dict[EraBasis, str] = {"tracking_code": "login", "claimed": "claim"}
_ENDS: dict[EndReason, str] = {
    "disconnected": "our disconnect",
    "taken_down": "removed at Meta",
    "replaced": "another login",
    "released": "released",
}


def _end_of(era: Era) -> str:
    if era.end_reason is None:
        return ""
    # Another login may come before Meta has confirmed that the customer removed the last owner.
    return _ENDS["taken_down" if era.suspended_at else era.end_reason]


def _until(era: Era) -> str:
    return "asking Meta" if era.is_suspended else "now"


async def _find(conn: Conn, waba_id: str) -> ConnectionView:
    require_meta_id("WABA_ID", waba_id)
    return await connection_requests.find_connection(conn, waba_id, organization_id=None)


def _fields(view: ConnectionView, phone_numbers: list[PhoneNumber]) -> Iterator[tuple[str, str]]:
    for name in ConnectionView.__slots__:
        value = getattr(view, name)
        text = "\n".join(value) if name == "left_behind" else value
        yield name, "" if text is None else str(text)
    for number in phone_numbers:
        if number.is_coexistence:
            kind = "coexistence"
        else:
            kind = "registered" if number.is_registered else "not registered"
        yield f"number {number.phone_number_id}", f"{number.digits} ({kind})"
    if (remedy := view.remedy) is not None:
        yield f"to do, by {remedy.who}", remedy.text
