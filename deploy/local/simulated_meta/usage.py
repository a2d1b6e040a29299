"""Meta's hourly limits, of the app and of each WABA, and the headers that say what is used of them.

A call with the app's own token, or with none, counts for the app; one about a WABA, its numbers or
templates, for that WABA. Calls that were refused for a limit count too (Rate limits page, 2026).
"""

import json
import math
from collections import defaultdict, deque
from dataclasses import dataclass, field

from deploy.local.simulated_meta.access import GraphRequest
from deploy.local.simulated_meta.errors import GraphError
from deploy.local.simulated_meta.world import Waba, World

#: Calls an hour: of the app for each of its daily users, of a WABA, and of one that has a
#: registered number.
CALLS_OF_A_USER = 200
CALLS_OF_A_WABA = 200
CALLS_OF_AN_ACTIVE_WABA = 5000
#: Sending messages has limits of its own, which are not simulated.
_NOT_COUNTED = "send_message"


@dataclass(slots=True)
class Limits:
    """`waba_calls` None: what follows from the WABA's numbers. Shorten the hour to see it pass."""

    app_calls: int = 50 * CALLS_OF_A_USER
    waba_calls: int | None = None
    hour_seconds: float = 3600.0

    def of(self, waba: Waba | None) -> int:
        """Return the calls an hour of the WABA; None: of the app."""
        if waba is None:
            return self.app_calls
        if self.waba_calls is not None:
            return self.waba_calls
        is_active = any(number.is_cloud_api for number in waba.numbers)
        return CALLS_OF_AN_ACTIVE_WABA if is_active else CALLS_OF_A_WABA


@dataclass(slots=True)
class Usage:
    """The calls of the last hour. The app's are those of the empty id."""

    world: World
    limits: Limits = field(default_factory=Limits)
    _calls: defaultdict[str, deque[float]] = field(default_factory=lambda: defaultdict(deque))

    def count(self, name: str, request: GraphRequest) -> GraphError | None:
        """Count a call. Return the error that it must be answered with if it is over a limit."""
        if name == _NOT_COUNTED:
            return None
        if request.bearer in ("", self.world.app.access_token):
            waba, error = None, GraphError(4, "(#4) Application request limit reached")
        elif waba := self.world.waba_of(request.object_id):
            error = GraphError(
                80008,
                "(#80008) There have been too many calls to this WhatsApp Business account. Wait a"
                " bit and try again.",
            )
        else:
            return None
        calls = self._recent(waba)
        calls.append(self.world.now())
        return error if len(calls) > self.limits.of(waba) else None

    def headers(self, object_id: str) -> dict[str, str]:
        """Return the headers of an answer about the object."""
        headers = {"X-App-Usage": json.dumps(_figures(self._percent(None)))}
        if waba := self.world.waba_of(object_id):
            usage = {
                "type": "whatsapp_business_management",
                **_figures(self._percent(waba)),
                "estimated_time_to_regain_access": self._minutes_over(waba),
            }
            headers["X-Business-Use-Case-Usage"] = json.dumps({waba.business_id: [usage]})
        return headers

    def _recent(self, waba: Waba | None) -> deque[float]:
        calls = self._calls[waba.waba_id if waba else ""]
        while calls and calls[0] <= self.world.now() - self.limits.hour_seconds:
            calls.popleft()
        return calls

    def _percent(self, waba: Waba | None) -> int:
        return 100 * len(self._recent(waba)) // self.limits.of(waba)

    def _minutes_over(self, waba: Waba) -> int:
        """Return the minutes until the next call is within the limit; 0: it is."""
        calls, limit = self._recent(waba), self.limits.of(waba)
        if len(calls) < limit:
            return 0
        free_at = calls[-limit] + self.limits.hour_seconds
        return math.ceil((free_at - self.world.now()) / 60)


def _figures(percent: int) -> dict[str, int]:
    return {"call_count": percent, "total_cputime": percent, "total_time": percent}
