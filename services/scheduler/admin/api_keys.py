"""Commands for API keys."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    NO_REASON,
    ORGANIZATION,
    OnBehalfOption,
    ReasonOption,
    requester,
    require_match,
)
from services.scheduler.admin.tables import Columns, JsonOption, print_list
from services.scheduler.answers import Answer
from services.scheduler.run_job import UsageError, run_job
from shared.store import api_keys
from shared.store.api_keys import USUAL_RIGHTS, ApiKey, Right
from shared.store.connections import organizations
from shared.store.pool import Conn

app = typer.Typer(help="Manage the keys of the API.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; it appears in the audit log.")],
    organization: Annotated[
        str | None,
        typer.Option(help="The only organization the key is for; else the company's key, for all."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="Days until it stops working by itself.")
    ] = 365,
    right: Annotated[
        list[Right] | None,
        typer.Option(
            help="What the key may do; give it once for each right. Else read and change."
        ),
    ] = None,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Create a key and write it to standard output. It cannot be shown again.

    An organization that is new is added.

    Example: porteiro api-keys create reports --organization bakery --right read
    """

    key = ""

    async def create_key(conn: Conn) -> None:
        nonlocal key
        if not name.isprintable() or not 0 < len(name) <= 100:
            raise UsageError(["NAME must be 1 to 100 printable characters"])
        if organization is not None and Right.TOKEN in (right or ()):
            raise UsageError(["--right token is for a key of the company, without --organization"])
        if organization is not None:
            require_match(ORGANIZATION, "--organization", organization)
            await organizations.add(conn, organization)
        expires_at = datetime.now(UTC) + timedelta(days=days)
        key = await api_keys.create(
            conn,
            name,
            organization,
            expires_at=expires_at,
            rights=right or USUAL_RIGHTS,
            requester=requester(name, on_behalf_of),
        )

    run_job("api-keys", in_transaction(create_key))
    sys.stdout.write(key + "\n")


def _works_until(key: ApiKey) -> datetime | str:
    if key.revoked_at is not None:
        return "revoked"
    return key.expires_at or "no end"


_COLUMNS: Columns[ApiKey] = {
    "id": lambda key: key.id,
    "works until": _works_until,
    "last used": lambda key: key.last_used_on or "never",
    "name": lambda key: key.name,
    "rights": lambda key: key.rights,
    "organization": lambda key: key.organization_id or "all (the company's key)",
}


@app.command("list")
def list_keys(as_json: JsonOption = False) -> None:
    """List all keys, also expired and revoked ones."""

    async def show(conn: Conn) -> None:
        print_list("API keys (UTC)", _COLUMNS, await api_keys.listed(conn), as_json=as_json)

    run_job("api-keys", in_transaction(show))


@app.command("revoke")
def revoke(
    key_id: UUID,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Revoke a key. It stops working at once."""

    async def revoke_key(conn: Conn) -> Answer:
        if not await api_keys.revoke(conn, key_id, requester(reason, on_behalf_of)):
            raise UsageError([f"there is no key {key_id} that still works"])
        return Answer("api_key.revoked", f"The key {key_id} is revoked.", key_id=str(key_id))

    run_job("api-keys", in_transaction(revoke_key))
