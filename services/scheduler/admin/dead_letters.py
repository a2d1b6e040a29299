"""Dead letters, by hand: seen, replayed, discarded."""

import getpass
import sys
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import Annotated
from uuid import UUID

import structlog
import typer
from rich.console import Console
from rich.table import Table

from services.scheduler.run_job import run_job
from shared.actions import letter_replays
from shared.crypto import KeyRing
from shared.errors import StartupRefused
from shared.process import crash_points
from shared.settings.groups import BodyKeySettings, DatabaseSettings
from shared.settings.load import hex_bytes, load
from shared.store import audit
from shared.store.intake import changes, dead_letters, replays, webhooks
from shared.store.intake.dead_letters import Cause, Letter
from shared.store.intake.replays import LetterOutcome, LetterSelection, Replay
from shared.store.pool import Conn, Pool, open_pool, transaction

log = structlog.get_logger()
app = typer.Typer(help="What was given up on.", no_args_is_help=True)

MAX_SHOWN = 50


class LetterSettings(DatabaseSettings, BodyKeySettings):
    pass


Ids = Annotated[list[UUID] | None, typer.Argument(help="Letters, or else --fingerprint.")]
Fingerprint = Annotated[
    str | None, typer.Option(help="All letters of one cause, as `list` shows it.")
]
Until = Annotated[datetime | None, typer.Option(help="Only what died by then (UTC); else by now.")]
Rate = Annotated[int, typer.Option(min=1, max=1000, help="Letters a second.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]
Reason = Annotated[str, typer.Option(help="Why, for the audit log.")]
Actor = Annotated[str, typer.Option(default_factory=getpass.getuser, help="Who, likewise.")]


@app.command("list")
def list_letters(
    fingerprint: Fingerprint = None,
    after: Annotated[UUID | None, typer.Option(help="Only letters behind this one.")] = None,
) -> None:
    """Open letters by cause or, of one cause, one by one, the oldest first."""

    async def work(pool: Pool, _: KeyRing) -> None:
        async with transaction(pool) as conn:
            table = (
                _letters(
                    await dead_letters.listed(
                        conn, fingerprint=fingerprint, after=after, limit=MAX_SHOWN
                    )
                )
                if fingerprint
                else _causes(await dead_letters.causes(conn))
            )
        Console().print(table)

    run_job("dead-letters", _with_pool(work))


@app.command("show")
def show(
    letter_id: UUID,
    actor: Actor,
    content: Annotated[  # noqa: FBT002
        bool, typer.Option(help="Also what it holds, people's messages; audited.")
    ] = False,
) -> None:
    """One letter, whole."""

    async def work(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            letter = next(iter(await dead_letters.by_ids(conn, [letter_id])), None)
            if letter is None:
                raise StartupRefused([f"there is no dead letter {letter_id}"])
            body = None
            if content:
                body = await _content(conn, ring, letter)
                await audit.add(
                    conn, actor=actor, action="dead_letters.read", subject=str(letter_id),
                    reason="shown with its content",
                )  # fmt: skip
        table = Table(show_header=False)
        for name in Letter.__slots__:
            value = getattr(letter, name)
            table.add_row(name, "" if value is None else str(value))
        Console().print(table)
        if body is not None:
            sys.stdout.write(_printable(body) + "\n")

    run_job("dead-letters", _with_pool(work))


@app.command("replay")
def replay(
    reason: Reason,
    actor: Actor,
    ids: Ids = None,
    fingerprint: Fingerprint = None,
    until: Until = None,
    rate: Rate = 50,
    dry_run: DryRun = False,  # noqa: FBT002
) -> None:
    """Have what is in letters tried again, from its first try on."""
    selection = _selection(ids, fingerprint, until)
    run_job("dead-letters", _close("replayed", selection, rate, actor, reason, dry_run=dry_run))


@app.command("discard")
def discard(
    reason: Reason,
    actor: Actor,
    ids: Ids = None,
    fingerprint: Fingerprint = None,
    until: Until = None,
    rate: Rate = 50,
    dry_run: DryRun = False,  # noqa: FBT002
) -> None:
    """Give up what is in letters for good."""
    selection = _selection(ids, fingerprint, until)
    run_job("dead-letters", _close("discarded", selection, rate, actor, reason, dry_run=dry_run))


@app.command("resume")
def resume(replay_id: UUID, actor: Actor) -> None:
    """Go on with a replay or discard that was stopped half-way."""

    async def work(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            if await replays.get(conn, replay_id) is None:
                raise StartupRefused([f"there is no replay {replay_id}"])
            await audit.add(
                conn, actor=actor, action="dead_letters.resumed", subject=str(replay_id),
                reason="it was stopped half-way",
            )  # fmt: skip
        await _run(pool, ring, replay_id)

    run_job("dead-letters", _with_pool(work))


async def _close(
    outcome: LetterOutcome,
    selection: LetterSelection,
    rate: int,
    actor: str,
    reason: str,
    *,
    dry_run: bool,
) -> None:
    async def work(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            if not await replays.count(conn, selection):
                raise StartupRefused(["none of these is an open dead letter that died by then"])
            if dry_run:
                count = await replays.count(conn, selection)
                log.info("replay.dry_run", count=count, outcome=outcome)
                return
            replay_id = await letter_replays.start(
                conn, selection, outcome, rate=rate, actor=actor, reason=reason
            )
        log.info("replay.started", replay_id=replay_id, outcome=outcome)
        await _run(pool, ring, replay_id)

    await _with_pool(work)


async def _run(pool: Pool, ring: KeyRing, replay_id: UUID) -> None:
    skipped = 0

    def tell(replay: Replay) -> None:
        nonlocal skipped
        skipped = replay.skipped
        _tell(replay)

    await letter_replays.run(pool, ring, replay_id, tell)
    if skipped:
        raise StartupRefused(
            [f"{skipped} letters stay open: their bytes are no webhooks this code can read"]
        )


def _tell(replay: Replay) -> None:
    log.info(
        "replay.finished" if replay.finished_at else "replay.progress",
        replay_id=replay.id,
        outcome=replay.outcome,
        done=replay.done,
        skipped=replay.skipped,
        total=replay.total,
    )


def _selection(
    ids: Sequence[UUID] | None, fingerprint: str | None, until: datetime | None
) -> LetterSelection:
    if bool(ids) == bool(fingerprint):
        raise typer.BadParameter("name letters, or one --fingerprint")
    if until is not None and until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return LetterSelection(ids or None, fingerprint, until)


def _causes(found: Sequence[Cause]) -> Table:
    table = Table(title="Dead letters by cause")
    for column in ("fingerprint", "letters", "kind", "blame", "error", "first", "last"):
        table.add_column(
            column, overflow="fold", justify="right" if column == "letters" else "left"
        )
    for one in found:
        times = (f"{at:%Y-%m-%d %H:%M}" for at in (one.first_failed_at, one.died_at))
        table.add_row(one.fingerprint, f"{one.count:,}", one.kind, one.blame, one.error, *times)
    return table


def _letters(found: Sequence[Letter]) -> Table:
    title = "Dead letters of this cause"
    if len(found) == MAX_SHOWN:
        title += f"; what follows: --after {found[-1].id}"
    table = Table(title=title)
    for column in ("id", "field", "event", "WABA", "organization", "attempts", "died"):
        table.add_column(column, overflow="fold", no_wrap=column == "id")
    for one in found:
        table.add_row(
            str(one.id), one.field, one.event, one.waba_id, one.organization_id,
            str(one.attempts), f"{one.died_at:%Y-%m-%d %H:%M:%S}",
        )  # fmt: skip
    return table


async def _with_pool(work: Callable[[Pool, KeyRing], Awaitable[None]]) -> None:
    settings = load(LetterSettings)
    if settings.crash_at:
        crash_points.arm(settings.crash_at)
    ring = KeyRing(hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous))
    url = settings.database_url.get_secret_value()
    async with open_pool(url, name="dead-letters", size=1) as pool:
        await work(pool, ring)


def _printable(body: bytes) -> str:
    """On one screen with nothing that would move its cursor."""
    text = body.decode(errors="backslashreplace")
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in text
    )


async def _content(conn: Conn, ring: KeyRing, letter: Letter) -> bytes | None:
    if letter.kind == "change":
        return await changes.read_content(conn, ring, letter.subject_id)
    if letter.kind == "webhook":
        return await webhooks.read_body(conn, ring, letter.subject_id)
    return await dead_letters.envelope(conn, ring, letter.id)
