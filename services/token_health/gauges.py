"""Show how the tokens do: one look a minute."""

from services.token_health.metrics import TokenHealthMetrics
from services.token_health.suspension import Suspension
from shared.domain.token_health import is_suspicious
from shared.store.connections import health
from shared.store.pool import Pool, now, transaction

_NAMES = {health.NEVER: "never", health.MORE: "more"}


class TokenGauges:
    def __init__(self, pool: Pool, metrics: TokenHealthMetrics, suspension: Suspension) -> None:
        self._pool = pool
        self._metrics = metrics
        self._suspension = suspension

    async def work_once(self) -> bool:
        """Count once. Return False: there is never more to do at once."""
        async with transaction(self._pool) as conn:
            counts = await health.count(conn)
            recent = await health.recent_checks(conn)
            at = await now(conn)
        self._metrics.connections.clear()
        for state, number in counts.by_state.items():
            self._metrics.connections.labels(state).set(number)
        self._metrics.days_left.clear()
        for days, number in counts.by_days_left.items():
            self._metrics.days_left.labels(_NAMES.get(days, str(days))).set(number)
        oldest = counts.oldest_check_at
        self._metrics.oldest_check.set(0 if oldest is None else (at - oldest).total_seconds())
        self._suspension.refresh(
            is_suspicious=is_suspicious(recent.checked, recent.bad, recent.last_bad)
        )
        return False
