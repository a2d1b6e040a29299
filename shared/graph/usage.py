"""Meta's usage headers, obeyed before the limit is hit: calling while limited prolongs it."""

from collections import OrderedDict
from collections.abc import Iterable, Mapping
from typing import Any

import orjson

#: Both headers count in percent of the limit (Graph API rate limiting page, 2026).
APP_USAGE = "X-App-Usage"
BUSINESS_USAGE = "X-Business-Use-Case-Usage"
MAX_PERCENT = 90
#: How long calls rest at MAX_PERCENT where Meta names no time; its windows are of an hour.
PAUSE_SECONDS = 300.0
MAX_PAUSE_SECONDS = 72 * 3600.0
#: The app as a whole, beside the WABAs.
APP = ""
MAX_PLACES = 10_000


class Usage:
    """Which WABAs, or the whole app, must not be called before when; times are the loop's."""

    def __init__(self) -> None:
        self._until: OrderedDict[str, float] = OrderedDict()

    def seconds_left(self, limited_by: str, now: float) -> float:
        """0 where the next call may go."""
        return max(0.0, *(self._until.get(one, 0.0) - now for one in (APP, limited_by)))

    def pause(self, limited_by: str, seconds: float, now: float) -> None:
        self._until[limited_by] = max(self._until.get(limited_by, 0.0), now + seconds)
        self._until.move_to_end(limited_by)
        if len(self._until) > MAX_PLACES:
            self._until.popitem(last=False)

    def note(self, headers: Mapping[str, str], limited_by: str, now: float) -> float | None:
        """Take in an answer's headers; how long Meta says the limit lasts, if one is reached."""
        if (seconds := _rest([_parsed(headers.get(APP_USAGE))])) is not None:
            self.pause(APP, seconds, now)
        told = _parsed(headers.get(BUSINESS_USAGE))
        lists = told.values() if isinstance(told, dict) else ()
        rows = [row for rows in lists if isinstance(rows, list) for row in rows]
        if (of_business := _rest(rows)) is not None:
            self.pause(limited_by or APP, of_business, now)
            seconds = max(seconds or 0.0, of_business)
        return seconds


def _rest(rows: Iterable[Any]) -> float | None:
    rests = [_seconds(row) for row in rows if isinstance(row, dict)]
    return max((pause for pause in rests if pause is not None), default=None)


def _seconds(row: dict[str, Any]) -> float | None:
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
