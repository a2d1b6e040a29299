"""Commands for connections."""

from datetime import datetime
from typing import Annotated

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.failed_calls import print_failed_calls
from services.scheduler.admin.options import (
    NO_REASON,
    AfterOption,
    OnBehalfOption,
    ReasonOption,
    WabaArgument,
    requester,
    require_meta_id,
)
from services.scheduler.admin.tables import (
    MAX_SHOWN,
    Columns,
    JsonOption,
    print_fields,
    print_list,
    print_page,
)
from services.scheduler.answers import Answer
from services.scheduler.run_job import run_job
from shared.actions import connection_requests, disconnection, ownership
from shared.actions.errors import Missing
from shared.actions.number_states import standing
from shared.domain.attribution import EraBasis
from shared.domain.facts import State
from shared.domain.provisioning import NumberPlan
from shared.domain.remedies import remedy
from shared.store.connections import eras, views
from shared.store.connections.eras import EndReason, Era
from shared.store.connections.views import ConnectionView
from shared.store.intake import changes
from shared.store.pool import Conn

app = typer.Typer(help="Manage connections: the WABAs of organizations.", no_args_is_help=True)

_COLUMNS: Columns[ConnectionView] = {
    "WABA": lambda view: view.waba_id,
    "organization": lambda view: view.organization_id,
    "state": lambda view: view.state,
    "reason": lambda view: view.why,
    "attribution": lambda view: view.attribution,
    "token": lambda view: view.token_state,
}


@app.command("list")
def list_connections(
    organization: Annotated[str | None, typer.Option(help="Only of this organization.")] = None,
    state: Annotated[State | None, typer.Option(help="Only in this state.")] = None,
    after: AfterOption = "",
    as_json: JsonOption = False,
) -> None:
    """List connections that have an owner, by WABA.

    Example: porteiro connections list --state provisioning
    """

    async def show_page(conn: Conn) -> None:
        page = await views.connections(
            conn, organization_id=organization, state=state, after=after, limit=MAX_SHOWN
        )
        print_page("Connections", _COLUMNS, page, as_json=as_json, following="--after")

    run_job("connections", in_transaction(show_page))


@app.command("show")
def show(waba_id: WabaArgument, as_json: JsonOption = False) -> None:
    """Show one connection, and what to do if it fails."""

    async def show_fields(conn: Conn) -> None:
        view = await _find(conn, waba_id)
        fields = _fields(view, await standing(conn, view.waba_id))
        print_fields(fields, as_json=as_json)

    run_job("connections", in_transaction(show_fields))


@app.command("provision")
def provision(
    waba_id: WabaArgument, reason: ReasonOption = NO_REASON, on_behalf_of: OnBehalfOption = None
) -> None:
    """Provision a connection again. First mend the cause of its failure."""

    async def request(conn: Conn) -> Answer:
        require_meta_id("WABA_ID", waba_id)
        view = await connection_requests.find_connection(conn, waba_id, organization_id=None)
        await connection_requests.request_provisioning(conn, view, requester(reason, on_behalf_of))
        return Answer(
            "connection.provision_requested",
            f"The connection {waba_id} will be provisioned again, within seconds as a rule; see"
            f" `porteiro connections show {waba_id}`.",
            waba_id=waba_id,
        )

    run_job("connections", in_transaction(request))


@app.command("register")
def register(
    waba_id: WabaArgument,
    phone_number_id: Annotated[str, typer.Argument(help="Meta's id of the number")],
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Register a number that the customer's login did not name.

    It takes the number from wherever it is registered, and sets its two-step verification PIN.
    """

    async def request(conn: Conn) -> Answer:
        require_meta_id("WABA_ID", waba_id)
        require_meta_id("PHONE_NUMBER_ID", phone_number_id)
        view = await connection_requests.find_connection(conn, waba_id, organization_id=None)
        await connection_requests.request_registration(
            conn, view, phone_number_id, requester(reason, on_behalf_of)
        )
        return Answer(
            "connection.register_requested",
            f"The number {phone_number_id} will be registered, within seconds as a rule; see"
            f" `porteiro connections show {waba_id}`.",
            waba_id=waba_id,
        )

    run_job("connections", in_transaction(request))


@app.command("failures")
def failures(waba_id: WabaArgument, as_json: JsonOption = False) -> None:
    """Show the newest failed calls to Meta of the last 30 days.

    The newest come first.
    """

    async def show_failures(conn: Conn) -> None:
        require_meta_id("WABA_ID", waba_id)
        await print_failed_calls(conn, waba_id, as_json=as_json)

    run_job("connections", in_transaction(show_failures))


@app.command("disconnect")
def disconnect(
    waba_id: WabaArgument, reason: ReasonOption, on_behalf_of: OnBehalfOption = None
) -> None:
    """Disconnect a connection from our side. Then `show` lists what is left behind at Meta."""

    async def request(conn: Conn) -> Answer:
        require_meta_id("WABA_ID", waba_id)
        await disconnection.request(
            conn, waba_id, organization_id=None, requester=requester(reason, on_behalf_of)
        )
        return Answer(
            "connection.disconnect_requested",
            f"The connection {waba_id} has no owner any more, and Meta is being told. `porteiro"
            f" connections show {waba_id}` lists what is left behind at Meta.",
            waba_id=waba_id,
        )

    run_job("connections", in_transaction(request))


@app.command("release")
def release(
    waba_id: WabaArgument, reason: ReasonOption, on_behalf_of: OnBehalfOption = None
) -> None:
    """End an organization's ownership without asking Meta.

    Then another one can connect. For a customer who moved to another organization and did
    not unshare the account at Meta.
    """

    async def end(conn: Conn) -> Answer:
        require_meta_id("WABA_ID", waba_id)
        await ownership.release(conn, waba_id, requester(reason, on_behalf_of))
        return Answer(
            "connection.released",
            f"The connection {waba_id} is released: another organization can connect it. What"
            " arrives meanwhile waits for the next owner.",
            waba_id=waba_id,
        )

    run_job("connections", in_transaction(end))


@app.command("history")
def history(waba_id: WabaArgument, as_json: JsonOption = False) -> None:
    """Show who owned a WABA when, and why."""

    async def show_eras(conn: Conn) -> None:
        await _find(conn, waba_id)
        owned = await eras.history(conn, waba_id)
        print_list(f"Owners of {waba_id} (UTC)", _ERA_COLUMNS, owned, as_json=as_json)

    run_job("connections", in_transaction(show_eras))


_HOW: dict[EraBasis, str] = {"tracking_code": "login", "claimed": "claim"}
_ENDS: dict[EndReason, str] = {
    "disconnected": "our disconnect",
    "taken_down": "removed at Meta",
    "replaced": "another login",
    "released": "released",
}


def _end_of(era: Era) -> str | None:
    if era.end_reason is None:
        return None
    # Another login may come before Meta has confirmed that the customer removed the last owner.
    return _ENDS["taken_down" if era.suspended_at else era.end_reason]


def _until(era: Era) -> datetime | str:
    return era.ended_at or ("asking Meta" if era.is_suspended else "now")


_ERA_COLUMNS: Columns[Era] = {
    "from": lambda era: era.began_at,
    "until": _until,
    "owner": lambda era: era.organization_id,
    "by": lambda era: _HOW[era.basis],
    "ended by": _end_of,
}


async def _find(conn: Conn, waba_id: str) -> ConnectionView:
    """Return the connection, also if it is an orphan."""
    require_meta_id("WABA_ID", waba_id)
    view = await views.connection(conn, waba_id, organization_id=None)
    if view is not None:
        return view
    count = await changes.count_unowned(conn, waba_id)
    if count:
        raise Missing(
            "no_such_connection",
            f"There is no connection with WABA {waba_id}: no account_update of it has arrived."
            f" {count} changes of it are stored, and wait for an owner.",
        )
    raise Missing("no_such_connection", f"Nothing is known of WABA {waba_id}.")


def _fields(view: ConnectionView, plans: list[NumberPlan]) -> dict[str, object]:
    fields: dict[str, object] = {name: getattr(view, name) for name in ConnectionView.__slots__}
    for plan in plans:
        number = plan.number
        kind = "on the app" if number.is_coexistence else "registered"
        words = [plan.state, *([kind] if plan.state == "working" else [])]
        words += [str(plan.reason)] if plan.reason else []
        if plan.rests_until:
            words.append(f"again at {plan.rests_until:%Y-%m-%d %H:%M} UTC")
        fields[f"number {number.phone_number_id}"] = f"{number.digits} ({', '.join(words)})"
        found = remedy(plan.reason, goes_on=plan.rests_until is not None)
        if found is not None and plan.reason != view.why:
            fields[f"to do for {number.phone_number_id}, by {found.who}"] = found.text
    if (known := view.remedy) is not None:
        fields[f"to do, by {known.who}"] = known.text
    return fields
