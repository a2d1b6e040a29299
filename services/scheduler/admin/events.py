"""Commands for events."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import structlog
import typer

from services.scheduler.run_job import run_job
from shared.settings.groups import DatabaseSettings
from shared.settings.load import load
from shared.store import events
from shared.store.events import EventReplay
from shared.store.pool import open_pool, transaction

log = structlog.get_logger()
app = typer.Typer(help="Manage the events for the company's backend.", no_args_is_help=True)

#: Events chosen in one transaction.
MAX_BATCH = 1000


@app.callback()
def group() -> None:
    """Make `events` a group: Typer would drop the name of its only command, `replay`."""


@app.command("replay")
def replay(
    since: Annotated[datetime, typer.Option(help="UTC.")],
    until: Annotated[datetime | None, typer.Option(help="UTC; else now.")] = None,
    unrouted: Annotated[
        bool, typer.Option(help="Only events that no queue was bound for.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, max=10_000, help="Events a second.")] = 200,
) -> None:
    """Make events due again under their old ids, so that consumers can recognize them."""
    selection = EventReplay(_utc(since), _utc(until or datetime.now(UTC)), unrouted, rate)
    run_job("events", _replay(selection))


async def _replay(selection: EventReplay) -> None:
    count, last = 0, UUID(int=0)
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="events", size=1) as pool:
        while True:
            async with transaction(pool) as conn:
                ids = await events.replay(conn, selection, done=count, after=last, limit=MAX_BATCH)
            if not ids:
                break
            count, last = count + len(ids), ids[-1]
    log.info("events.made_due", count=count, seconds=count // selection.rate)


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
