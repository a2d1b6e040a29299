"""Commands for dead letters."""

import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import structlog
import typer
from rich.console import Console
from rich.table import Table

from services.scheduler.admin.options import ActorOption, ReasonOption
from services.scheduler.admin.tables import MAX_SHOWN, print_fields, print_page
from services.scheduler.run_job import UsageError, run_job
from shared.actions import letter_replays
from shared.crypto import KeyRing
from shared.process import crash_points
from shared.settings.groups import BodyKeySettings, DatabaseSettings
from shared.settings.load import load
from shared.store import audit
from shared.store.intake import changes, dead_letters, replays, webhooks
from shared.store.intake.dead_letters import Cause, Letter
from shared.store.intake.replays import LetterOutcome, LetterSelection, Replay
from shared.store.pool import Conn, Pool, open_pool, transaction

log = structlog.get_logger()
app = typer.Typer(help="Manage dead letters: what was given up.", no_args_is_help=True)


class LetterSettings(DatabaseSettings, BodyKeySettings):
    pass


Ids = Annotated[
    list[UUID] | None, typer.Argument(help="Ids of letters; not together with --fingerprint.")
]
Fingerprint = Annotated[
    str | None, typer.Option(help="All letters of the cause with this fingerprint (see `list`).")
]
Until = Annotated[
    datetime | None, typer.Option(help="Only letters that died at this time or before (UTC).")
]
Rate = Annotated[int, typer.Option(min=1, max=1000, help="Letters a second.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]


@app.command("list")
def list_letters(
    fingerprint: Fingerprint = None,
    after: Annotated[
        UUID | None, typer.Option(help="Only letters whose id comes after this one.")
    ] = None,
) -> None:
    """List the causes of open letters, or the open letters of one cause, the oldest first."""

    async def show(pool: Pool, _: KeyRing) -> None:
        async with transaction(pool) as conn:
            if not fingerprint:
                _print_causes(await dead_letters.causes(conn))
                return
            _print_letters(
                await dead_letters.listed(
                    conn, fingerprint=fingerprint, after=after, limit=MAX_SHOWN
                )
            )

    run_job("dead-letters", _with_pool(show))


@app.command("show")
def show(
    letter_id: UUID,
    actor: ActorOption,
    content: Annotated[
        bool, typer.Option(help="Also show the content: people's messages. Audited.")
    ] = False,
) -> None:
    """Show everything about one letter."""

    async def show_letter(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            letter = next(iter(await dead_letters.by_ids(conn, [letter_id])), None)
            if letter is None:
                raise UsageError([f"there is no dead letter {letter_id}"])
            body = None
            if content:
                body = await _read_content(conn, ring, letter)
                await audit.add(
                    conn, actor=actor, action="dead_letters.read", subject=str(letter_id),
                    reason="shown with its content",
                )  # fmt: skip
        values = ((name, getattr(letter, name)) for name in Letter.__slots__)
        print_fields((name, "" if value is None else str(value)) for name, value in values)
        if body is not None:
            sys.stdout.write(_printable(body) + "\n")

    run_job("dead-letters", _with_pool(show_letter))


@app.command("replay")
def replay(
    reason: ReasonOption,
    actor: ActorOption,
    ids: Ids = None,
    fingerprint: Fingerprint = None,
    until: Until = None,
    rate: Rate = 50,
    dry_run: DryRun = False,
) -> None:
    """Retry what is in letters, starting again at its first attempt."""
    selection = _selection(ids, fingerprint, until)
    run_job("dead-letters", _close("replayed", selection, rate, actor, reason, dry_run=dry_run))


@app.command("discard")
def discard(
    reason: ReasonOption,
    actor: ActorOption,
    ids: Ids = None,
    fingerprint: Fingerprint = None,
    until: Until = None,
    rate: Rate = 50,
    dry_run: DryRun = False,
) -> None:
    """Discard what is in letters, for good."""
    selection = _selection(ids, fingerprint, until)
    run_job("dead-letters", _close("discarded", selection, rate, actor, reason, dry_run=dry_run))


@app.command("resume")
def resume(replay_id: UUID, actor: ActorOption) -> None:
    """Continue a replay or discard that was interrupted."""

    async def resume_replay(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            if await replays.get(conn, replay_id) is None:
                raise UsageError([f"there is no replay {replay_id}"])
            await audit.add(
                conn, actor=actor, action="dead_letters.resumed", subject=str(replay_id),
                reason="it was stopped half-way",
            )  # fmt: skip
        await _run_replay(pool, ring, replay_id)

    run_job("dead-letters", _with_pool(resume_replay))


async def _close(
    outcome: LetterOutcome,
    selection: LetterSelection,
    rate: int,
    actor: str,
    reason: str,
    *,
    dry_run: bool,
) -> None:
    """Replay or discard the selected letters. Raise UsageError if none of them is open."""

    async def close(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            count = await replays.count(conn, selection)
            if not count:
                raise UsageError(["none of these is an open dead letter, or it died after --until"])
            if dry_run:
                log.info("dead_letters.dry_run", count=count, outcome=outcome)
                return
            replay_id = await letter_replays.start(
                conn, selection, outcome, rate=rate, actor=actor, reason=reason
            )
        log.info("dead_letters.started", replay_id=replay_id, outcome=outcome)
        await _run_replay(pool, ring, replay_id)

    await _with_pool(close)


async def _run_replay(pool: Pool, ring: KeyRing, replay_id: UUID) -> None:
    """Run the replay to its end. Raise UsageError if letters had to stay open."""
    skipped = 0

    def log_progress(replay: Replay) -> None:
        nonlocal skipped
        skipped = replay.skipped
        log.info(
            "dead_letters.finished" if replay.finished_at else "dead_letters.progress",
            replay_id=replay.id,
            outcome=replay.outcome,
            done=replay.done,
            skipped=replay.skipped,
            total=replay.total,
        )

    await letter_replays.run(pool, ring, replay_id, log_progress)
    if skipped:
        raise UsageError(
            [f"{skipped} letters stay open: this version cannot read their bytes as webhooks"]
        )


def _selection(
    ids: Sequence[UUID] | None, fingerprint: str | None, until: datetime | None
) -> LetterSelection:
    if bool(ids) == bool(fingerprint):
        raise typer.BadParameter("give either ids of letters or one --fingerprint")
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return LetterSelection(ids or None, fingerprint, until)


def _print_causes(causes: Sequence[Cause]) -> None:
    table = Table(title="Dead letters by cause")
    for column in ("fingerprint", "letters", "kind", "blame", "error", "first", "last"):
        table.add_column(
            column, overflow="fold", justify="right" if column == "letters" else "left"
        )
    for cause in causes:
        times = (f"{at:%Y-%m-%d %H:%M}" for at in (cause.first_failed_at, cause.died_at))
        table.add_row(
            cause.fingerprint, f"{cause.count:,}", cause.kind, cause.blame, cause.error, *times
        )
    Console().print(table)


def _print_letters(letters: Sequence[Letter]) -> None:
    columns = ("id", "field", "event", "WABA", "organization", "attempts", "died")
    rows = [
        (str(letter.id), letter.field, letter.event, letter.waba_id, letter.organization_id,
         str(letter.attempts), f"{letter.died_at:%Y-%m-%d %H:%M:%S}")
        for letter in letters
    ]  # fmt: skip
    print_page("Dead letters of this cause", columns, rows, no_wrap=("id",))


async def _with_pool(work: Callable[[Pool, KeyRing], Awaitable[None]]) -> None:
    settings = load(LetterSettings)
    crash_points.arm(settings.crash_at)
    ring = KeyRing(settings.body_keys)
    url = settings.database_url.get_secret_value()
    async with open_pool(url, name="dead-letters", size=1) as pool:
        await work(pool, ring)


def _printable(body: bytes) -> str:
    """Return the body as text. Escape what is not printable, so it cannot control the terminal."""
    text = body.decode(errors="backslashreplace")
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


async def _read_content(conn: Conn, ring: KeyRing, letter: Letter) -> bytes | None:
    if letter.kind == "change":
        return await changes.read_content(conn, ring, letter.subject_id)
    if letter.kind == "webhook":
        return await webhooks.read_body(conn, ring, letter.subject_id)
    return await dead_letters.message_body(conn, ring, letter.id)
