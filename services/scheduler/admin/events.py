"""Commands for events."""

from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.options import (
    NO_REASON,
    OnBehalfOption,
    ReasonOption,
    requester,
    time_option,
)
from services.scheduler.answers import Answer
from services.scheduler.run_job import run_job
from shared.settings.groups import DatabaseSettings
from shared.settings.load import load
from shared.store import audit, events
from shared.store.audit import Requester
from shared.store.events import EventReplay
from shared.store.pool import open_pool, transaction

app = typer.Typer(help="Manage the events for the company's backend.", no_args_is_help=True)

#: Events chosen in one transaction.
MAX_BATCH = 1000


@app.callback()
def group() -> None:
    """Make `events` a group: Typer would drop the name of its only command, `replay`."""


@app.command("replay")
def replay(
    since: Annotated[datetime, time_option("Only events created then or later")],
    until: Annotated[datetime | None, time_option("Only events created before")] = None,
    unrouted: Annotated[
        bool, typer.Option(help="Only events that no queue was bound for.")
    ] = False,
    rate: Annotated[int, typer.Option(min=1, max=10_000, help="Events a second.")] = 200,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Make events due again, under their old ids.

    By these ids consumers recognize them.

    Example: porteiro events replay --since 2h --unrouted
    """
    selection = EventReplay(since, until or datetime.now(UTC), unrouted, rate)
    run_job("events", _replay(selection, requester(reason, on_behalf_of)))


async def _replay(selection: EventReplay, asked: Requester) -> None:
    count, last = 0, UUID(int=0)
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="events", size=1) as pool:
        while True:
            async with transaction(pool) as conn:
                ids = await events.replay(conn, selection, done=count, after=last, limit=MAX_BATCH)
                if ids and not count:
                    await audit.add(
                        conn,
                        asked,
                        action="events.replay",
                        subject=f"{selection.since:%Y-%m-%dT%H:%M:%SZ}"
                        f" to {selection.until:%Y-%m-%dT%H:%M:%SZ}"
                        + (", unrouted" if selection.only_unrouted else ""),
                    )
            if not ids:
                break
            count, last = count + len(ids), ids[-1]
    seconds = count // selection.rate
    Answer(
        "events.made_due",
        f"{count:,} events are published again, over about {seconds:,} seconds."
        if count
        else "No event was published in that time: nothing is published again.",
        count=count,
        seconds=seconds,
    ).say()
