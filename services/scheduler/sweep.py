"""The retry sweep: the processor's loop, run once for what is overdue."""

import time
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry

from shared.actions.failing import Failing
from shared.actions.group import Groups
from shared.actions.metrics import WorkMetrics
from shared.actions.working import Work
from shared.crypto import KeyRing
from shared.settings import BodyKeySettings, DatabaseSettings, RetrySettings, hex_bytes, load
from shared.store.pool import open_pool

log = structlog.get_logger()

OVERDUE = timedelta(minutes=5)
#: It is fired every five minutes; what is left by then is the next one's.
MAX_SECONDS = 240


class SweepSettings(DatabaseSettings, BodyKeySettings, RetrySettings):
    pass


async def sweep() -> None:
    """Harmless when run by many at once, and beside the processors: every row is claimed first."""
    settings = load(SweepSettings)
    ring = KeyRing(hex_bytes(settings.body_encryption_key, *settings.body_encryption_keys_previous))
    metrics = WorkMetrics(CollectorRegistry())
    failing = Failing(settings.retry_seconds, metrics)
    until = time.monotonic() + MAX_SECONDS
    count = 0
    url = settings.database_url.get_secret_value()
    async with open_pool(url, name="retry-sweep", size=1) as pool:
        work = Work(pool, ring, Groups(pool, ring, failing, metrics), failing)
        while time.monotonic() < until:
            worked, _ = await work.work_once(overdue=OVERDUE)  # the loops need no nudges
            if not worked:
                break
            count += worked
    log.info("retry_sweep.done", count=count)
