"""Meta's usage headers: pause calls before a limit is hit, because calls at a limit prolong it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

#: Both headers count in percent of the limit (Graph API rate limiting page, 2026).
APP_USAGE = "X-App-Usage"
BUSINESS_USAGE = "X-Business-Use-Case-Usage"
MAX_PERCENT = 90
#: How long calls pause from MAX_PERCENT on if Meta gives no time. Its windows are 1 hour.
PAUSE_SECONDS = 300.0
MAX_PAUSE_SECONDS = 72 * 3600.0
#: Key of the whole app; the other keys are ids of WABAs and businesses.
APP = ""
MAX_KEYS = 10_000


class Usage:
    """Until when calls pause, for a WABA, a business or the whole app; in the loop's time."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def seconds_left(self, limited_by: str, now: float) -> float:
        """Return how long the next call must wait, 0 if it may go."""
        return max(0.0, *(self._until.get(key, 0.0) - now for key in (APP, limited_by)))

    def pause(self, limited_by: str, seconds: float, now: float) -> None:
        self._until[limited_by] = max(self._until.get(limited_by, 0.0), now + seconds)
        self._until.move_to_end(limited_by)
        if len(self._until) > MAX_KEYS:
            self._until.popitem(last=False)

    def record(self, headers: Mapping[str, str], limited_by: str, now: float) -> float | None:
        """Record an answer's headers. Return how long calls pause if a limit is near, else None."""
        if (seconds := _longest_pause([_parsed(headers.get(APP_USAGE))])) is not None:
            self.pause(APP, seconds, now)
        by_business = _parsed(headers.get(BUSINESS_USAGE))
        lists = by_business.values() if isinstance(by_business, dict) else ()
        rows = [row for rows in lists if isinstance(rows, list) for row in rows]
        if (business_seconds := _longest_pause(rows)) is not None:
            self.pause(limited_by or APP, business_seconds, now)
            seconds = max(seconds or 0.0, business_seconds)
        return seconds


def _longest_pause(rows: Iterable[Any]) -> float | None:
    pauses = [_pause(row) for row in rows if isinstance(row, dict)]
    return max((pause for pause in pauses if pause is not None), default=None)


def _pause(row: dict[str, Any]) -> float | None:
    minutes = _number(row.get("estimated_time_to_regain_access"))
    if minutes > 0:
        return min(minutes * 60, MAX_PAUSE_SECONDS)
    used = max(_number(row.get(name)) for name in ("call_count", "total_time", "total_cputime"))
    return PAUSE_SECONDS if used >= MAX_PERCENT else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _parsed(header: str | None) -> Any:
    try:
        return orjson.loads(header) if header else None
    except orjson.JSONDecodeError:
        return None
