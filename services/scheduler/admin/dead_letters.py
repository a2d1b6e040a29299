"""Commands for dead letters."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin import letter_replays
from services.scheduler.admin.database import in_transaction, with_bodies
from services.scheduler.admin.letter_columns import (
    CAUSE_COLUMNS,
    LETTER_COLUMNS,
    REPLAY_COLUMNS,
    letter_fields,
)
from services.scheduler.admin.letter_replays import Fingerprint
from services.scheduler.admin.options import OnBehalfOption, requester, time_option
from services.scheduler.admin.tables import (
    MAX_SHOWN,
    JsonOption,
    print_fields,
    print_json,
    print_list,
    print_page,
    printable,
    write,
)
from services.scheduler.run_job import UsageError, run_job
from shared.crypto import KeyRing
from shared.store import audit
from shared.store.intake import changes, dead_letters, letter_views, replays, webhooks
from shared.store.intake.dead_letters import Letter
from shared.store.intake.letter_views import LetterFilter
from shared.store.pool import Conn, Pool, transaction

app = typer.Typer(help="Manage dead letters: what was given up.", no_args_is_help=True)
app.add_typer(letter_replays.app)


@app.command("list")
def list_letters(
    fingerprint: Fingerprint = None,
    waba: Annotated[str | None, typer.Option(help="Only of this WABA.")] = None,
    organization: Annotated[str | None, typer.Option(help="Only of this organization.")] = None,
    since: Annotated[datetime | None, time_option("Only what died then or later")] = None,
    until: Annotated[datetime | None, time_option("Only what died before")] = None,
    closed: Annotated[
        bool, typer.Option("--closed", help="Replayed and discarded ones instead of open ones.")
    ] = False,
    each: Annotated[
        bool, typer.Option("--each", help="Each letter, not their causes (as with --fingerprint).")
    ] = False,
    after: Annotated[
        UUID | None, typer.Option(help="Only letters whose id comes after this one.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the causes of open letters, or each letter, the oldest first.

    Example: porteiro dead-letters list --waba 210000000000010 --since 2h --each
    """
    chosen = LetterFilter(fingerprint, waba, organization, since, until, is_closed=closed)

    async def show(conn: Conn) -> None:
        if not (each or closed or fingerprint):
            causes = await letter_views.causes(conn, chosen)
            print_list("Dead letters by cause (UTC)", CAUSE_COLUMNS, causes, as_json=as_json)
            return
        letters = await letter_views.listed(conn, chosen, after=after, limit=MAX_SHOWN)
        if fingerprint and not letters and not after:
            kind = "closed" if closed else "open"
            raise UsageError(
                [f"no {kind} dead letter with the fingerprint {fingerprint} was found"]
            )
        print_page(
            "Dead letters (UTC)", LETTER_COLUMNS, letters, as_json=as_json, following="--after"
        )

    run_job("dead-letters", in_transaction(show))


@app.command("replays")
def list_replays(
    before: Annotated[UUID | None, typer.Option(help="Only replays before this one.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List what was replayed or discarded, and why."""

    async def show(conn: Conn) -> None:
        page = await replays.listed(conn, before=before, limit=MAX_SHOWN)
        print_page("Replays (UTC)", REPLAY_COLUMNS, page, as_json=as_json, following="--before")

    run_job("dead-letters", in_transaction(show))


@app.command("show")
def show(
    id_: Annotated[
        UUID, typer.Argument(metavar="ID", help="The id of a letter, a webhook or a change.")
    ],
    content: Annotated[
        bool, typer.Option("--content", help="Also show the content: people's messages. Audited.")
    ] = False,
    on_behalf_of: OnBehalfOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show a letter, or all letters of a webhook or change."""

    async def show_letters(pool: Pool, ring: KeyRing) -> None:
        body = None
        async with transaction(pool) as conn:
            letters = await letter_views.about(conn, id_, limit=MAX_SHOWN)
            if not letters:
                raise UsageError([f"there is no dead letter with the id {id_}, and none of it"])
            if content:
                body = await _read_content(conn, ring, _only(letters))
                await audit.add(
                    conn,
                    requester("shown with its content", on_behalf_of),
                    action="dead_letters.read",
                    subject=str(letters[0].id),
                )
        if as_json:
            text = None if body is None else body.decode(errors="backslashreplace")
            print_json([asdict(letter) | {"content": text} for letter in letters])
            return
        for number, letter in enumerate(letters):
            write("" if number else f"Dead letters: {len(letters)} (UTC)")
            print_fields(letter_fields(letter), as_json=False)
        if body is not None:
            write("")
            write(printable(body.decode(errors="backslashreplace")))

    run_job("dead-letters", with_bodies(show_letters))


def _only(letters: Sequence[Letter]) -> Letter:
    if len(letters) > 1:
        ids = ", ".join(str(letter.id) for letter in letters)
        raise UsageError([f"there are several: give one of them, to see its content: {ids}"])
    return letters[0]


async def _read_content(conn: Conn, ring: KeyRing, letter: Letter) -> bytes | None:
    if letter.kind == "change":
        return await changes.read_content(conn, ring, letter.subject_id)
    if letter.kind == "webhook":
        return await webhooks.read_body(conn, ring, letter.subject_id)
    return await dead_letters.message_body(conn, ring, letter.id)
