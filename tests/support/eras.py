"""An era of agency A, and what may happen to it."""

from datetime import timedelta

from prometheus_client import CollectorRegistry

from services.processor.intake.failures import FailureRecorder
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.webhook_groups import WebhookGroups
from shared.crypto import KeyRing
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact
from shared.domain.proof import TokenReport
from shared.store.connections import eras, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, Pool, now
from tests.support.keys import HASHER, TOKEN_RING
from tests.support.ownership import prove, report
from tests.support.sending import WABA

A, B = "agency-a", "agency-b"
CODE = "code-1"


async def own(conn: Conn) -> eras.Era:
    """Prove the WABA for A an hour ago. Return A's era."""
    await organizations.add(conn, A)
    at = await now(conn)
    await onboardings.start(conn, TOKEN_RING, NewOnboarding(A, CODE, at + timedelta(hours=1)))
    async with conn.transaction():
        await prove(conn, CODE, WABA, None, at - timedelta(hours=1))
    return await find_era(conn)


def intake(pool: Pool, ring: KeyRing) -> WebhookGroups:
    metrics = IntakeMetrics(CollectorRegistry())
    recorder = FailureRecorder((30,), metrics)
    return WebhookGroups(pool, ring, HASHER, recorder, metrics, lambda _: None, app_id="1")


async def find_era(conn: Conn) -> eras.Era:
    era = await eras.open_era(conn, WABA)
    assert era is not None
    return era


async def take_down(conn: Conn) -> eras.Era:
    """Let Meta's takedown suspend the open era. Return the era."""
    async with conn.transaction():
        at = await now(conn)
        await report(conn, ChangeEffects(WABA, (Fact("shared", "unshared", at),)))
    era = await find_era(conn)
    assert era.is_suspended
    return era


class ValidTokens:
    """A Graph to which every token is valid."""

    app_id = "1"

    async def debug_token(self, _: str, **__: object) -> TokenReport:
        return TokenReport(
            is_valid=True, app_id=self.app_id, wabas=None, user_id=None, expires_at=None
        )


async def is_lock_awaited(conn: Conn) -> bool:
    return bool(
        await conn.fetchval(
            "SELECT true FROM pg_stat_activity"
            " WHERE datname = current_database() AND wait_event_type = 'Lock' LIMIT 1"
        )
    )
