"""Connections and orphans, by hand."""

import getpass
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.table import Table

from services.scheduler.admin.owners import (
    MAX_SHOWN,
    ORGANIZATION,
    in_transaction,
    matching,
    meta_id,
)
from services.scheduler.run_job import run_job
from shared.actions import disconnection, orphan_claims
from shared.domain.facts import LIVE, State
from shared.errors import StartupRefused
from shared.store.connections import follow_ups, numbers, organizations, views
from shared.store.connections.views import ConnectionView
from shared.store.pool import Conn

log = structlog.get_logger()
connections_app = typer.Typer(
    help="Organizations' WABAs, and how they stand.", no_args_is_help=True
)
orphans_app = typer.Typer(help="WABAs that nobody owns yet.", no_args_is_help=True)

Waba = Annotated[str, typer.Argument(help="Meta's id of the WABA.")]
After = Annotated[str, typer.Option(help="Only WABAs behind this one.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]
Actor = Annotated[str, typer.Option(default_factory=getpass.getuser, help="Who, likewise.")]


@connections_app.command("list")
def list_connections(
    organization: Annotated[str | None, typer.Option(help="Only this one's.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    after: After = "",
) -> None:
    """Connections that have an owner, by WABA."""

    async def work(conn: Conn) -> None:
        found = await views.connections(
            conn, organization_id=organization, state=state, after=after, limit=MAX_SHOWN
        )
        rows = [
            (v.waba_id, v.organization_id, v.attribution, v.state, v.why, v.token_state)
            for v in found
        ]
        columns = ("WABA", "organization", "attribution", "state", "reason", "token")
        _print("Connections", columns, rows, [v.waba_id for v in found])

    run_job("connections", in_transaction(work))


@connections_app.command("show")
def show(waba_id: Waba) -> None:
    """One connection, whole, with what to do if it does not work."""

    async def work(conn: Conn) -> None:
        view = await _find(conn, waba_id)
        known = await numbers.current(conn, view.waba_id)
        table = Table(show_header=False)
        for name in ConnectionView.__slots__:
            value = getattr(view, name)
            text = "\n".join(value) if name == "left_behind" else value
            table.add_row(name, "" if text is None else str(text))
        for number in known:
            kind = "coexistence" if number.is_coexistence else "registered"
            is_set = number.is_coexistence or number.is_registered
            told = f"{number.digits} ({kind if is_set else 'not registered'})"
            table.add_row(f"number {number.phone_number_id}", told)
        if (what := view.remedy) is not None:
            table.add_row(f"to do, by {what.who}", what.text)
        Console().print(table)

    run_job("connections", in_transaction(work))


@connections_app.command("provision")
def provision(waba_id: Waba) -> None:
    """Have it brought to work once more: after its cause was mended."""

    async def work(conn: Conn) -> None:
        view = await _find(conn, waba_id)
        if view.state not in LIVE:
            raise StartupRefused(
                [f"WABA_ID: {waba_id} is {view.state}: its customer must connect again"]
            )
        await follow_ups.add(conn, "provision", [waba_id])
        log.info("connection.requested", kind="provision", waba_id=waba_id)

    run_job("connections", in_transaction(work))


@connections_app.command("disconnect")
def disconnect(waba_id: Waba, reason: Reason, actor: Actor) -> None:
    """Have it disconnected from our side; `show` then tells what is left behind at Meta."""

    async def work(conn: Conn) -> None:
        await _find(conn, waba_id)
        await disconnection.ask(conn, waba_id, actor=actor, reason=reason)
        log.info("connection.requested", kind="disconnect", waba_id=waba_id)

    run_job("connections", in_transaction(work))


@orphans_app.command("list")
def list_orphans(after: After = "") -> None:
    """Orphans, with what is known of each."""

    async def work(conn: Conn) -> None:
        found = await views.orphans(conn, after=after, limit=MAX_SHOWN)
        rows = [
            (one.waba_id, one.state, one.owner_business_id, _shown(one.since),
             str(one.waiting_changes), ", ".join(one.candidates))
            for one in found
        ]  # fmt: skip
        columns = ("WABA", "state", "owner business", "since", "waiting changes", "candidates")
        _print("Orphans", columns, rows, [one.waba_id for one in found])

    run_job("orphans", in_transaction(work))


@orphans_app.command("claim")
def claim(
    waba_id: Waba,
    organization_id: Annotated[str, typer.Argument(help="Whose it is.")],
    reason: Reason,
    actor: Actor,
) -> None:
    """Give an orphan to an organization, with all that came meanwhile."""

    async def work(conn: Conn) -> None:
        if not await organizations.is_known(conn, organization_id):
            raise StartupRefused(["ORGANIZATION_ID is not known: see `porteiro organizations add`"])
        refused = await orphan_claims.claim(
            conn,
            meta_id("WABA_ID", waba_id),
            matching(ORGANIZATION, "ORGANIZATION_ID", organization_id),
            actor=actor,
            reason=reason,
        )
        if refused is not None:
            raise StartupRefused([_REFUSED[refused]])
        log.info("orphan.claimed", waba_id=waba_id, organization_id=organization_id)

    run_job("orphans", in_transaction(work))


_REFUSED = {
    "no_such_waba": "WABA_ID: nothing is known of this WABA",
    "owned_by_another": "WABA_ID: it is another organization's: only a proof changes that",
}


async def _find(conn: Conn, waba_id: str) -> ConnectionView:
    view = await views.connection(conn, meta_id("WABA_ID", waba_id), organization_id=None)
    if view is None or view.organization_id is None:
        raise StartupRefused([f"WABA_ID: {waba_id} is no organization's connection"])
    return view


def _print(
    title: str, columns: Sequence[str], rows: Sequence[Sequence[str | None]], keys: Sequence[str]
) -> None:
    if len(keys) == MAX_SHOWN:
        title += f"; what follows: --after {keys[-1]}"
    table = Table(title=title)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("WABA", "state"))
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _shown(at: datetime | None) -> str:
    return "" if at is None else f"{at:%Y-%m-%d %H:%M}"
