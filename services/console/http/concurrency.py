"""The limit of concurrent requests, which each process counts for itself."""

from collections.abc import Iterator
from contextlib import contextmanager

AT_ONCE = 10


class ConcurrencyLimit:
    """Allow each name AT_ONCE concurrent requests."""

    def __init__(self) -> None:
        self._running: dict[str, int] = {}

    @contextmanager
    def admit(self, name: str) -> Iterator[bool]:
        """Yield whether the request is allowed. If it is, count it as running during the block."""
        count = self._running.get(name, 0)
        if count >= AT_ONCE:
            yield False
            return
        self._running[name] = count + 1
        try:
            yield True
        finally:
            self._running[name] -= 1
            if not self._running[name]:
                del self._running[name]
