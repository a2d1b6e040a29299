"""Delete the unproven tokens of onboardings that ended: nobody will ever use them."""

import structlog

from shared.store.connections import expired_onboardings
from shared.store.pool import Pool, transaction

log = structlog.get_logger()


class UnprovenTokens:
    """Live tokens of customers, whose proof is blocked, refused or not needed any more."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def work_once(self) -> bool:
        """Delete those of one batch of onboardings. Return whether there may be more."""
        async with transaction(self._pool) as conn:
            expired = await expired_onboardings.expire(conn)
            ended = await expired_onboardings.delete_tokens(conn)
        count = expired.counts["unproven_tokens"] + ended
        if count:
            log.info("tokens.dropped", count=count, reason="onboarding_ended")
        return expired.reached is not None
