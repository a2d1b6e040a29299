"""Commands that replay or discard dead letters."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.database import with_bodies
from services.scheduler.admin.options import OnBehalfOption, ReasonOption, requester, time_option
from services.scheduler.answers import Answer
from services.scheduler.run_job import UsageError, run_job
from shared.actions import letter_replays
from shared.crypto import KeyRing
from shared.store import audit
from shared.store.audit import Requester
from shared.store.intake import replays
from shared.store.intake.replays import LetterOutcome, LetterSelection, Replay
from shared.store.pool import Pool, transaction

Ids = Annotated[
    list[UUID] | None, typer.Argument(help="Ids of letters; not together with --fingerprint.")
]
Fingerprint = Annotated[
    str | None, typer.Option(help="All letters of the cause with this fingerprint (see `list`).")
]
Until = Annotated[datetime | None, time_option("Only letters that died then or before")]
Rate = Annotated[int, typer.Option(min=1, max=1000, help="Letters a second.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only count.")]


app = typer.Typer()


@app.command("replay")
def replay(
    reason: ReasonOption,
    on_behalf_of: OnBehalfOption = None,
    ids: Ids = None,
    fingerprint: Fingerprint = None,
    until: Until = None,
    rate: Rate = 50,
    dry_run: DryRun = False,
) -> None:
    """Retry what is in letters, starting again at its first attempt.

    Example: porteiro dead-letters replay --fingerprint 3f9a1c5b7d2e --reason "fixed in 0.3"
    """
    selection, asked = _selection(ids, fingerprint, until), requester(reason, on_behalf_of)
    run_job("dead-letters", _close("replayed", selection, rate, asked, dry_run=dry_run))


@app.command("discard")
def discard(
    reason: ReasonOption,
    on_behalf_of: OnBehalfOption = None,
    ids: Ids = None,
    fingerprint: Fingerprint = None,
    until: Until = None,
    rate: Rate = 50,
    dry_run: DryRun = False,
) -> None:
    """Discard what is in letters, for good."""
    selection, asked = _selection(ids, fingerprint, until), requester(reason, on_behalf_of)
    run_job("dead-letters", _close("discarded", selection, rate, asked, dry_run=dry_run))


@app.command("resume")
def resume(replay_id: UUID, on_behalf_of: OnBehalfOption = None) -> None:
    """Continue a replay or discard that was interrupted."""

    async def resume_replay(pool: Pool, ring: KeyRing) -> None:
        async with transaction(pool) as conn:
            if await replays.get(conn, replay_id) is None:
                raise UsageError([f"there is no replay {replay_id}"])
            await audit.add(
                conn,
                requester("it was stopped half-way", on_behalf_of),
                action="dead_letters.resumed",
                subject=str(replay_id),
            )
        await _run_replay(pool, ring, replay_id)

    run_job("dead-letters", with_bodies(resume_replay))


async def _close(
    outcome: LetterOutcome,
    selection: LetterSelection,
    rate: int,
    asked: Requester,
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
                Answer(
                    "dead_letters.dry_run",
                    f"Would be {outcome}: {count:,} dead letters. Nothing was changed.",
                    count=count,
                    outcome=outcome,
                ).say()
                return
            replay_id = await letter_replays.start(
                conn, selection, outcome, rate=rate, requester=asked
            )
        Answer(
            "dead_letters.started",
            f"To be {outcome}: {count:,} dead letters, at most {rate} a second. If this stops, go"
            f" on with `porteiro dead-letters resume {replay_id}`.",
            replay_id=replay_id,
            outcome=outcome,
        ).say()
        await _run_replay(pool, ring, replay_id)

    await with_bodies(close)


async def _run_replay(pool: Pool, ring: KeyRing, replay_id: UUID) -> None:
    """Run the replay to its end. Raise UsageError if letters had to stay open."""
    skipped = 0

    def say_progress(replay: Replay) -> None:
        nonlocal skipped
        skipped = replay.skipped
        Answer(
            "dead_letters.finished" if replay.finished_at else "dead_letters.progress",
            _finished(replay) if replay.finished_at else f"{replay.done} of {replay.total}",
            replay_id=replay.id,
            outcome=replay.outcome,
            done=replay.done,
            skipped=replay.skipped,
            total=replay.total,
        ).say()

    await letter_replays.run(pool, ring, replay_id, say_progress)
    if skipped:
        raise UsageError(
            [f"{skipped} letters stay open: this version cannot read their bytes as webhooks"]
        )


def _finished(replay: Replay) -> str:
    if replay.outcome == "discarded":
        return f"Discarded: {replay.done:,} dead letters."
    return (
        f"Replayed: {replay.done:,} dead letters. What was in them is due again: the processors try"
        " it within seconds. What fails again gets a new letter: see `porteiro dead-letters list`"
        " and `porteiro dead-letters replays`."
    )


def _selection(
    ids: Sequence[UUID] | None, fingerprint: str | None, until: datetime | None
) -> LetterSelection:
    if bool(ids) == bool(fingerprint):
        raise typer.BadParameter("give either ids of letters or one --fingerprint")
    return LetterSelection(ids or None, fingerprint, until)
