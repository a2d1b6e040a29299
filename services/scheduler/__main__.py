"""Everything that runs once and exits: `porteiro JOB`."""

import asyncio
import sys
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Annotated, Any

import asyncpg
import structlog
import typer
from aio_pika.exceptions import AMQPError

from shared import telemetry
from shared.broker import topology
from shared.broker.link import LinkLost, connect
from shared.lifecycle import EXIT_REFUSED, Refusal
from shared.settings import DatabaseSettings, TopologySettings, load
from shared.store import migrate as migrations
from shared.store import partitions

log = structlog.get_logger()
app = typer.Typer(
    help="Porteiro's jobs and administration.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip


@app.command()
def migrate(
    to: Annotated[
        str, typer.Option(help="A revision, head, or base for an empty database.")
    ] = "head",
) -> None:
    """Bring the database's schema up (or down) to a revision."""
    _run("migrate", _migrate(to))


@app.command("topology")
def declare_topology() -> None:
    """Declare every exchange and queue on RabbitMQ; refuses where one differs."""
    _run("topology", _declare())


async def _migrate(to: str) -> None:
    url = load(DatabaseSettings).database_url.get_secret_value()
    await migrations.migrate(url, to)
    if to == "head":
        connection = await asyncpg.connect(url)
        try:
            await partitions.add_ahead(connection, datetime.now(UTC).date())
        finally:
            await connection.close()
    log.info("migrate.done", revision=migrations.newest_revision() if to == "head" else to)


async def _declare() -> None:
    settings = load(TopologySettings)
    connection = await connect(settings.rabbitmq_url.get_secret_value(), "porteiro topology")
    async with connection:
        queues = await topology.declare(connection, settings.retry_seconds)
    log.info("topology.done", count=len(queues))


def _run(job: str, work: Coroutine[Any, Any, None]) -> None:
    """Exit 78 on a Refusal, 1 when a server could not be reached."""
    telemetry.configure(job)
    try:
        asyncio.run(work)
    except Refusal as refusal:
        for fault in refusal.faults:
            log.critical("job.refused", fault=fault)
        sys.exit(EXIT_REFUSED)
    except (OSError, TimeoutError, AMQPError, LinkLost, asyncpg.PostgresError):
        log.critical("job.failed", exc_info=True)
        sys.exit(1)


def main() -> None:
    app()


if __name__ == "__main__":
    main()
