"""Everything that runs once and exits: `porteiro JOB`."""

from datetime import UTC, datetime
from typing import Annotated

import asyncpg
import structlog
import typer

from services.scheduler.admin import api_keys, connections, dead_letters, events, owners
from services.scheduler.jobs import rotate_keys
from services.scheduler.jobs.retry_sweep import sweep
from services.scheduler.run_job import run_job
from shared.broker import topology
from shared.broker.connect import connect
from shared.settings.groups import DatabaseSettings, TopologySettings
from shared.settings.load import load
from shared.store import migrate as migrations
from shared.store.intake import partitions

log = structlog.get_logger()
app = typer.Typer(
    help="Porteiro's jobs and administration.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(owners.organizations_app, name="organizations")
app.add_typer(owners.onboardings_app, name="onboardings")
app.add_typer(connections.connections_app, name="connections")
app.add_typer(connections.orphans_app, name="orphans")
app.add_typer(api_keys.app, name="api-keys")


@app.command()
def migrate(
    to: Annotated[
        str, typer.Option(help="A revision, head, or base for an empty database.")
    ] = "head",
) -> None:
    """Bring the database's schema up (or down) to a revision."""
    run_job("migrate", _migrate(to))


@app.command("topology")
def declare_topology() -> None:
    """Declare every exchange and queue on RabbitMQ; refuses where one differs."""
    run_job("topology", _declare())


@app.command("retry-sweep")
def retry_sweep() -> None:
    """Work whatever is overdue by five minutes: what the processors' own loops should have done."""
    run_job("retry-sweep", sweep())


@app.command("rotate-keys")
def rotate(
    bodies: Annotated[bool, typer.Option("--bodies", help="Webhooks' bodies, not tokens.")] = False,  # noqa: FBT002
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,  # noqa: FBT002
) -> None:
    """Bring everything sealed under the newest key, while the services run; may be resumed."""
    run_job("rotate-keys", rotate_keys.rotate("bodies" if bodies else "tokens", dry_run=dry_run))


async def _migrate(to: str) -> None:
    url = load(DatabaseSettings).database_url.get_secret_value()
    await migrations.migrate(url, to)
    if to == "head":
        conn = await asyncpg.connect(url)
        try:
            await partitions.add_ahead(conn, datetime.now(UTC).date())
        finally:
            await conn.close()
    log.info("migrate.done", revision=migrations.newest_revision() if to == "head" else to)


async def _declare() -> None:
    settings = load(TopologySettings)
    conn = await connect(settings.rabbitmq_url.get_secret_value(), "porteiro topology")
    async with conn:
        queues = await topology.declare(conn, settings.retry_seconds)
    log.info("topology.done", count=len(queues))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
