"""API keys, by hand: made and shown once, listed, revoked."""

import sys
from typing import Annotated
from uuid import UUID

import structlog
import typer
from rich.console import Console
from rich.table import Table

from services.scheduler.admin.owners import ORGANIZATION, in_transaction, matching
from services.scheduler.run_job import run_job
from shared.errors import StartupRefused
from shared.store import api_keys
from shared.store.connections import organizations
from shared.store.pool import Conn

log = structlog.get_logger()
app = typer.Typer(help="Keys to the API.", no_args_is_help=True)


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="What it is for; stands in the audit log.")],
    organization: Annotated[
        str | None, typer.Option(help="Whose it is; else the company's, for all of them.")
    ] = None,
) -> None:
    """Make a key and write it to standard output: it cannot be shown again."""

    async def work(conn: Conn) -> None:
        if not name.isprintable() or not 0 < len(name) <= 100:
            raise StartupRefused(["NAME must be 1 to 100 printable characters"])
        if organization is not None:
            matching(ORGANIZATION, "--organization", organization)
            await organizations.add(conn, organization)
        sys.stdout.write(await api_keys.create(conn, name, organization) + "\n")

    run_job("api-keys", in_transaction(work))


@app.command("list")
def list_keys() -> None:
    """All keys there ever were, never the keys themselves."""

    async def work(conn: Conn) -> None:
        table = Table(title="API keys")
        for column in ("id", "name", "organization", "made", "revoked"):
            table.add_column(column, overflow="fold", no_wrap=column == "id")
        for key in await api_keys.listed(conn):
            revoked = f"{key.revoked_at:%Y-%m-%d %H:%M}" if key.revoked_at else ""
            table.add_row(
                str(key.id), key.name, key.organization_id or "(the company)",
                f"{key.created_at:%Y-%m-%d %H:%M}", revoked,
            )  # fmt: skip
        Console().print(table)

    run_job("api-keys", in_transaction(work))


@app.command("revoke")
def revoke(key_id: UUID) -> None:
    """Have a key work no more, at once."""

    async def work(conn: Conn) -> None:
        if not await api_keys.revoke(conn, key_id):
            raise StartupRefused([f"there is no key {key_id} that still works"])
        log.info("api_key.revoked", key_id=str(key_id))

    run_job("api-keys", in_transaction(work))
