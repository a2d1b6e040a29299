"""Rotate keys online: seal all data again under the newest key, in bounded batches."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_incrementing

from shared.crypto import KeyRing
from shared.errors import StartupRefused
from shared.process import crash_points
from shared.process.crash_points import crash_point
from shared.settings.groups import BodyKeySettings, DatabaseSettings, TokenKeySettings
from shared.settings.load import load
from shared.store import rotation
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, open_pool, transaction
from shared.store.rotation import RotationBatch, SealedColumn, SealedData

log = structlog.get_logger()

#: The pause between two batches, so that the services' own statements come first.
PAUSE_SECONDS = 0.05
#: Attempts of one batch.
MAX_ATTEMPTS = 5


class TokenRotation(DatabaseSettings, TokenKeySettings):
    pass


class BodyRotation(DatabaseSettings, BodyKeySettings):
    pass


async def rotate(data: SealedData, *, dry_run: bool) -> None:
    """Seal `data` again under the newest key, or with `dry_run` only count its rows by key.

    Safe to stop at any moment and to repeat: finished batches stay finished. Without `dry_run`,
    raise StartupRefused if rows under another key remain: no key of the ring opened them.
    """
    settings: TokenRotation | BodyRotation
    if data == "tokens":
        settings = load(TokenRotation)
        ring = KeyRing(settings.token_keys)
    else:
        settings = load(BodyRotation)
        ring = KeyRing(settings.body_keys)
    crash_points.arm(settings.crash_at)
    url = settings.database_url.get_secret_value()
    unopened = 0
    async with open_pool(url, name="rotate-keys", size=1) as pool:
        for column in rotation.COLUMNS[data]:
            counts = await _rotate_column(pool, ring, column, dry_run=dry_run)
            for key_id, count in sorted(counts.items()):
                is_newest = key_id == ring.write_id.hex()
                unopened += 0 if is_newest or dry_run else count
                log.info(
                    "keys.counted", kind=column.name, key_id=key_id, count=count, newest=is_newest
                )
    if unopened:
        raise StartupRefused(
            [f"{unopened} rows are sealed under no key of the ring: they were not changed"]
        )


async def _rotate_column(
    pool: Pool, ring: KeyRing, column: SealedColumn, *, dry_run: bool
) -> Counter[str]:
    """Return how many rows are sealed under each key, by key id, after the rotation."""
    after, counts = None, Counter[str]()
    while True:
        batch: RotationBatch = await until_resealed(column)(
            _reseal, pool, ring, column, after, dry_run=dry_run
        )
        if batch.reached is None:
            return counts
        after = batch.reached
        counts.update(batch.not_resealed)
        if batch.resealed:
            counts[ring.write_id.hex()] += batch.resealed
        log.info(
            "keys.counting" if dry_run else "keys.rotating", kind=column.name, done=counts.total()
        )
        await asyncio.sleep(PAUSE_SECONDS)


def until_resealed(column: SealedColumn) -> AsyncRetrying:
    """Return the policy for a batch that was interrupted, such as by a deadlock with a service."""
    return AsyncRetrying(
        retry=retry_if_exception(is_infrastructure),
        wait=wait_incrementing(start=1, increment=1),
        stop=stop_after_attempt(MAX_ATTEMPTS),
        before_sleep=lambda state: log.warning(
            "keys.interrupted",
            kind=column.name,
            attempt=state.attempt_number,
            exc_info=state.outcome and state.outcome.exception(),
        ),
        reraise=True,
    )


async def _reseal(
    pool: Pool, ring: KeyRing, column: SealedColumn, after: Sequence[Any] | None, *, dry_run: bool
) -> RotationBatch:
    async with transaction(pool) as conn:
        batch = await rotation.reseal(conn, ring, column, after=after, dry_run=dry_run)
        crash_point("keys.resealing")
    return batch
