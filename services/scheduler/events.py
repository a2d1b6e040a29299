"""Events, once more."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import structlog
import typer

from services.scheduler.job import run_job
from shared.settings import DatabaseSettings, load
from shared.store import events
from shared.store.pool import open_pool, transaction

log = structlog.get_logger()
app = typer.Typer(help="What the company's backend is told.", no_args_is_help=True)

MAX_AT_A_TIME = 1000


@app.callback()
def group() -> None:
    """Keeps `replay` a command of its own."""


@app.command("replay")
def replay(
    since: Annotated[datetime, typer.Option(help="UTC.")],
    until: Annotated[datetime | None, typer.Option(help="UTC; else now.")] = None,
    unrouted: Annotated[bool, typer.Option(help="Only those nobody was bound for.")] = False,  # noqa: FBT002
) -> None:
    """Have events published again, under their old ids: consumers know them by these."""
    run_job(
        "events", _replay(_utc(since), _utc(until or datetime.now(UTC)), only_unrouted=unrouted)
    )


async def _replay(since: datetime, until: datetime, *, only_unrouted: bool) -> None:
    count, last = 0, UUID(int=0)
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="events", size=1) as pool:
        while True:
            async with transaction(pool) as connection:
                again = await events.replay(
                    connection, since, until, only_unrouted=only_unrouted, after=last,
                    limit=MAX_AT_A_TIME,
                )  # fmt: skip
            if not again:
                break
            count, last = count + len(again), again[-1]
    log.info("events.replayed", count=count)


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
