"""Limits on the API and the pages: requests in a sliding minute, and requests at once."""

from collections import OrderedDict, deque
from collections.abc import Iterator
from contextlib import contextmanager

WINDOW_SECONDS = 60.0
PER_ADDRESS = 1000
PER_ORGANIZATION = 100
AT_ONCE = 10
#: Beyond so many addresses or organizations the one seen longest ago is forgotten.
MAX_KNOWN = 10_000


class SlidingWindow:
    """At most `most` in any WINDOW_SECONDS for each name; in this process alone."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._seen: OrderedDict[str, deque[float]] = OrderedDict()

    def seconds_left(self, name: str, now: float) -> float:
        """0 and counted, or how long until there is room again."""
        times = self._seen.setdefault(name, deque())
        self._seen.move_to_end(name)
        while times and times[0] <= now - WINDOW_SECONDS:
            times.popleft()
        if len(times) >= self._most:
            return times[0] + WINDOW_SECONDS - now
        times.append(now)
        if len(self._seen) > MAX_KNOWN:
            self._seen.popitem(last=False)
        return 0.0


class ConcurrencyLimit:
    """At most AT_ONCE requests under way for each name."""

    def __init__(self) -> None:
        self._under_way: dict[str, int] = {}

    @contextmanager
    def room(self, name: str) -> Iterator[bool]:
        """Whether there is room; it is taken during the block."""
        count = self._under_way.get(name, 0)
        if count >= AT_ONCE:
            yield False
            return
        self._under_way[name] = count + 1
        try:
            yield True
        finally:
            self._under_way[name] -= 1
            if not self._under_way[name]:
                del self._under_way[name]
