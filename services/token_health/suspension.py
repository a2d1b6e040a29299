"""Say once that bad answers count for nothing, and once that they count again."""

import time

import structlog

from services.token_health.metrics import TokenHealthMetrics

log = structlog.get_logger()

#: A sign of an outage that is not repeated holds for so long.
HOLDS_SECONDS = 15 * 60.0


class Suspension:
    def __init__(self, metrics: TokenHealthMetrics) -> None:
        self._metrics = metrics
        self._until = 0.0
        self._is_told = False

    def note(self) -> None:
        """Note that a check was suspended."""
        self._until = time.monotonic() + HOLDS_SECONDS
        if not self._is_told:
            self._is_told = True
            log.error("token_checks.suspended")
        self._metrics.suspended.set(1)

    def refresh(self, *, is_suspicious: bool) -> None:
        """Begin or end by what the checks of the last hour say."""
        if is_suspicious:
            self.note()
        elif self._is_told and time.monotonic() >= self._until:
            self._is_told = False
            log.info("token_checks.resumed")
            self._metrics.suspended.set(0)
