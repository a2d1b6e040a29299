"""PostgreSQL's time. Webhooks are dated by it, because it decides whose each of them is."""

from datetime import UTC, datetime, timedelta

import structlog
from prometheus_client import CollectorRegistry, Gauge

from shared.store.pool import Pool, now, transaction, write_nothing

log = structlog.get_logger()

#: Above this skew somebody should mend a clock.
WARN_ABOVE = timedelta(seconds=2)


class DatabaseClock:
    """This process's clock, corrected by its skew. Without an answer the last measure holds."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._skew = timedelta(0)
        self._is_warned = False
        gauge = Gauge(
            "porteiro_clock_skew_seconds",
            "How far PostgreSQL's clock is ahead of this process's",
            registry=registry,
        )
        gauge.set_function(lambda: self._skew / timedelta(seconds=1))

    def now(self) -> datetime:
        return datetime.now(UTC) + self._skew

    async def measure(self, pool: Pool) -> None:
        """Measure the skew: PostgreSQL answers halfway through the round trip. Raise as `ping`."""
        async with transaction(pool) as conn:
            before = datetime.now(UTC)
            theirs = await now(conn)
            after = datetime.now(UTC)
            await write_nothing(conn)
        self._skew = theirs - (before + (after - before) / 2)
        is_far = abs(self._skew) > WARN_ABOVE
        if is_far and not self._is_warned:
            log.warning("clock.skewed", seconds=round(self._skew.total_seconds(), 1))
        self._is_warned = is_far
