"""What was called, in order, and how it was answered; no token and no code is in it."""

from collections import deque
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

MAX_KEPT = 10_000


@dataclass(slots=True)
class Entry:
    """`status` is None until it is answered, 0 if the connection was cut instead."""

    number: int
    call: str
    subject: str
    at: str
    status: int | None = None
    code: int | None = None


class Ledger:
    def __init__(self) -> None:
        self._entries: deque[Entry] = deque(maxlen=MAX_KEPT)
        self._count = 0

    def begin(self, call: str, subject: str, now: float) -> Entry:
        self._count += 1
        at = datetime.fromtimestamp(now, UTC).isoformat(timespec="milliseconds")
        entry = Entry(self._count, call, subject, at)
        self._entries.append(entry)
        return entry

    def after(self, number: int) -> list[dict[str, Any]]:
        return [asdict(entry) for entry in self._entries if entry.number > number]
