"""Limits of the API and the pages: requests in a sliding minute, and concurrent requests."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_SECONDS = 60.0
PER_ADDRESS = 1000
PER_ORGANIZATION = 100
AT_ONCE = 10
#: A window remembers this many addresses or organizations, and forgets the least recently seen.
MAX_KNOWN = 10_000


class SlidingWindow:
    """Allow each name `limit` requests in any WINDOW_SECONDS. Counts this process only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._times: OrderedDict[str, deque[float]] = OrderedDict()

    def seconds_left(self, name: str, now: float) -> float:
        """Count a request and return 0, or return how long the caller must wait.

        A refused request is not counted.
        """
        times = self._times.setdefault(name, deque())
        self._times.move_to_end(name)
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        if len(times) >= self._limit:
            return times[0] + WINDOW_SECONDS - now
        times.append(now)
        if len(self._times) > MAX_KNOWN:
            self._times.popitem(last=False)
        return 0.0


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
