"""The log of Graph calls and their answers, in order. It contains no token and no code."""

from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

MAX_ENTRIES = 10_000


@dataclass(slots=True)
class Entry:
    """A call. `status` is None before the answer, and 0 if the HTTP connection was cut instead."""

    number: int
    call: str
    subject: str
    at: str
    status: int | None = None
    code: int | None = None


class CallLog:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_ENTRIES)
        self._count = 0

    def begin(self, call: str, subject: str, now: float) -> Entry:
        """Add a call that is not answered yet. The caller sets its status later."""
        self._count += 1
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        entry = Entry(self._count, call, subject, at)
        self._entries.append(entry)
        return entry

    def after(self, number: int) -> list[dict[str, Any]]:
        """Return the entries with a higher number."""
        return [asdict(entry) for entry in self._entries if entry.number > number]
