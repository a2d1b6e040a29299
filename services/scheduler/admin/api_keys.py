"""Commands for API keys."""

import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import structlog
import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import ORGANIZATION, ActorOption, require_match
from services.scheduler.admin.tables import print_table
from services.scheduler.run_job import UsageError, run_job
from shared.store import api_keys
from shared.store.api_keys import ApiKey
from shared.store.connections import organizations
from shared.store.pool import Conn

log = structlog.get_logger()
app = typer.Typer(help="Manage the keys of the API.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What the key is for; it appears in the audit log.")],
    actor: ActorOption,
    organization: Annotated[
        str | None,
        typer.Option(help="The only organization the key is for; else the company's key, for all."),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=3650, help="Days until it stops working by itself.")
    ] = 365,
) -> None:
    """Create a key and write it to standard output. It cannot be shown again.

    It works only if the command ends with exit code 0. An organization that is new is added.
    """

    async def create_key(conn: Conn) -> None:
        if not name.isprintable() or not 0 < len(name) <= 100:
            raise UsageError(["NAME must be 1 to 100 printable characters"])
        if organization is not None:
            require_match(ORGANIZATION, "--organization", organization)
            await organizations.add(conn, organization)
        expires_at = datetime.now(UTC) + timedelta(days=days)
        key = await api_keys.create(
            conn, name, organization, expires_at=expires_at, actor=actor, reason=name
        )
        sys.stdout.write(key + "\n")

    run_job("api-keys", in_transaction(create_key))


@app.command("list")
def list_keys() -> None:
    """List all keys, without their text: also those that expired or were revoked."""

    async def show(conn: Conn) -> None:
        rows = [
            (str(key.id), key.name, key.organization_id or "(company)", _works_until(key),
             f"{key.last_used_on or 'never'}")
            for key in await api_keys.listed(conn)
        ]  # fmt: skip
        columns = ("id", "name", "for", "until", "last used")
        print_table("API keys", columns, rows, no_wrap=("id", "until", "last used"))

    run_job("api-keys", in_transaction(show))


def _works_until(key: ApiKey) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return f"{key.expires_at:%Y-%m-%d}" if key.expires_at else "no end"


@app.command("revoke")
def revoke(
    key_id: UUID,
    actor: ActorOption,
    reason: Annotated[str, typer.Option(help="The reason, for the audit log.")] = "not given",
) -> None:
    """Revoke a key. It stops working at once."""

    async def revoke_key(conn: Conn) -> None:
        if not await api_keys.revoke(conn, key_id, actor=actor, reason=reason):
            raise UsageError([f"there is no key {key_id} that still works"])
        log.info("api_key.revoked", key_id=str(key_id))

    run_job("api-keys", in_transaction(revoke_key))
