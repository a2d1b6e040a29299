"""Events, once more."""

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
    rate: Annotated[int, typer.Option(min=1, max=10_000, help="Events a second.")] = 200,
) -> None:
    """Have events published again, under their old ids: consumers know them by these."""
    again = EventReplay(_utc(since), _utc(until or datetime.now(UTC)), unrouted, rate)
    run_job("events", _replay(again))


async def _replay(again: EventReplay) -> None:
    count, last = 0, UUID(int=0)
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="events", size=1) as pool:
        while True:
            async with transaction(pool) as conn:
                chosen = await events.replay(
                    conn, again, done=count, after=last, limit=MAX_AT_A_TIME
                )
            if not chosen:
                break
            count, last = count + len(chosen), chosen[-1]
    log.info("events.replayed", count=count, seconds=count // again.rate)


def _utc(time: datetime) -> datetime:
    return time if time.tzinfo else time.replace(tzinfo=UTC)
