"""Commands for webhooks."""

from dataclasses import asdict
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.tables import (
    Columns,
    JsonOption,
    print_fields,
    print_json,
    print_list,
    write,
)
from services.scheduler.run_job import UsageError, run_job
from shared.store.intake import outcomes
from shared.store.intake.outcomes import ChangeOutcome
from shared.store.pool import Conn

app = typer.Typer(help="Look at webhooks and their changes.", no_args_is_help=True)

#: A webhook has at most 5,000 changes.
MAX_CHANGES = 5000


@app.callback()
def group() -> None:
    """Make `webhooks` a group: Typer would drop the name of its only command, `show`."""


@app.command("show")
def show(
    id_: Annotated[UUID, typer.Argument(metavar="ID", help="The id of a webhook or a change.")],
    as_json: JsonOption = False,
) -> None:
    """Show what became of a webhook and its changes.

    Without their content. Log lines name these ids as webhook_id and change_id, events as
    webhook_id and id.
    """

    async def show_outcome(conn: Conn) -> None:
        webhook = await outcomes.find(conn, id_)
        if webhook is None:
            raise UsageError([f"no webhook or change {id_} is stored; {_NOT_STORED}"])
        only = None if webhook.id == id_ else id_
        changes = await outcomes.changes_of(conn, webhook.id, only=only, limit=MAX_CHANGES)
        if as_json:
            told = [asdict(change) | {"event_outcome": _told(change)} for change in changes]
            print_json(asdict(webhook) | {"changes": told})
            return
        print_fields(asdict(webhook), as_json=False)
        write("")
        print_list("Its changes (UTC)" if only is None else "The change (UTC)", _COLUMNS, changes,
                   as_json=False)  # fmt: skip
        if not changes and webhook.state == "split":
            write("Meta sent no change in it that was not stored before, from an earlier webhook.")

    run_job("webhooks", in_transaction(show_outcome))


_NOT_STORED = (
    "it may still wait in RabbitMQ (queue webhooks.raw), be older than what is kept, or be no id of"
    " a webhook or change"
)


def _told(change: ChangeOutcome) -> str:
    """Say whether the company's backend was told of the change."""
    if change.published_at is not None:
        at = f"{change.published_at:%Y-%m-%d %H:%M}"
        return f"{at}, but no queue was bound for it" if change.is_unrouted else at
    if change.has_event:
        return "due"
    if change.state != "processed":
        return "after it is processed"
    if change.organization_id is None:
        return "once it has an owner"
    return "none: kept no longer"


_COLUMNS: Columns[ChangeOutcome] = {
    "id": lambda change: change.id,
    "state": lambda change: change.state,
    "attempts": lambda change: change.attempts or None,
    "field": lambda change: change.field,
    "event": lambda change: change.event,
    "WABA": lambda change: change.waba_id,
    "organization": lambda change: change.organization_id,
    "published": _told,
    "next attempt": lambda change: change.next_attempt_at,
    "error": lambda change: change.last_error,
    "dead letter": lambda change: change.letter_id,
}
