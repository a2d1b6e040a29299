"""What the commands for dead letters show of letters, causes and replays."""

from services.scheduler.admin.tables import Columns
from shared.store.intake.dead_letters import Letter
from shared.store.intake.letter_views import Cause
from shared.store.intake.replays import ReplaySummary

CAUSE_COLUMNS: Columns[Cause] = {
    "fingerprint": lambda cause: cause.fingerprint,
    "letters": lambda cause: cause.count,
    "again": lambda cause: cause.died_again or None,
    "kind": lambda cause: cause.kind,
    "blame": lambda cause: cause.blame,
    "first": lambda cause: cause.first_failed_at,
    "last": lambda cause: cause.died_at,
    "error": lambda cause: cause.error,
}


def _history(letter: Letter) -> str | None:
    """Say what came before the letter, or after it."""
    if letter.outcome is None:
        return f"died again (replayed before: {letter.replays})" if letter.replays else None
    if letter.died_again_as is not None:
        return f"{letter.outcome}, died again as {letter.died_again_as}"
    return letter.outcome


LETTER_COLUMNS: Columns[Letter] = {
    "id": lambda letter: letter.id,
    "died": lambda letter: letter.died_at,
    "attempts": lambda letter: letter.attempts,
    "field": lambda letter: letter.field,
    "event": lambda letter: letter.event,
    "WABA": lambda letter: letter.waba_id,
    "organization": lambda letter: letter.organization_id,
    "closed": lambda letter: letter.closed_at,
    "history": _history,
    "error": lambda letter: letter.error,
}

REPLAY_COLUMNS: Columns[ReplaySummary] = {
    "id": lambda replay: replay.id,
    "started": lambda replay: replay.created_at,
    "outcome": lambda replay: replay.outcome,
    "letters": lambda replay: replay.total,
    "done": lambda replay: replay.done,
    "stay open": lambda replay: replay.skipped or None,
    "died again": lambda replay: replay.died_again or None,
    "finished": lambda replay: replay.finished_at or "not yet",
    "by": lambda replay: replay.actor,
    "reason": lambda replay: replay.reason,
}


def letter_fields(letter: Letter) -> dict[str, object]:
    """Return everything about a letter. Its subject is called what it is, a change or a webhook."""
    subject = {f"{letter.kind}_id": letter.subject_id} if letter.kind != "message" else {}
    fields = {name: getattr(letter, name) for name in Letter.__slots__ if name != "subject_id"}
    return {"id": letter.id, "kind": letter.kind} | subject | fields
