"""Rotating keys online: everything sealed comes under the newest key, in bounded batches."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from typing import Any

import structlog

from shared.crypto import KeyRing
from shared.errors import StartupRefused
from shared.process import crash_points
from shared.process.crash_points import crash_point
from shared.settings.groups import BodyKeySettings, DatabaseSettings, TokenKeySettings
from shared.settings.load import hex_bytes, load
from shared.store import rotation
from shared.store.errors import is_infrastructure
from shared.store.pool import Pool, open_pool, transaction
from shared.store.rotation import RotationBatch, SealedColumn, SealedData

log = structlog.get_logger()

#: Between two batches, so that services come first.
PAUSE_SECONDS = 0.05
MAX_TRIES = 5


class TokenRotation(DatabaseSettings, TokenKeySettings):
    pass


class BodyRotation(DatabaseSettings, BodyKeySettings):
    pass


async def rotate(vault: SealedData, *, dry_run: bool) -> None:
    """May be ended at any moment and run again: what is done is done.

    Raises Refusal where something is left that no key of the ring opens.
    """
    settings: TokenRotation | BodyRotation
    if vault == "tokens":
        settings = load(TokenRotation)
        keys = (settings.token_encryption_key, *settings.token_encryption_keys_previous)
    else:
        settings = load(BodyRotation)
        keys = (settings.body_encryption_key, *settings.body_encryption_keys_previous)
    if settings.crash_at:
        crash_points.arm(settings.crash_at)
    ring = KeyRing(hex_bytes(*keys))
    url = settings.database_url.get_secret_value()
    left = 0
    async with open_pool(url, name="rotate-keys", size=1) as pool:
        for sealed in rotation.COLUMNS[vault]:
            counts = await _rotate_column(pool, ring, sealed, dry_run=dry_run)
            for key_id, count in sorted(counts.items()):
                is_newest = key_id == ring.write_id.hex()
                left += 0 if is_newest or dry_run else count
                log.info(
                    "keys.counted", kind=sealed.name, key_id=key_id, count=count, newest=is_newest
                )
    if left:
        raise StartupRefused(
            [f"{left} rows are sealed under no key of the ring: they were left as is"]
        )


async def _rotate_column(
    pool: Pool, ring: KeyRing, sealed: SealedColumn, *, dry_run: bool
) -> Counter[str]:
    """Rows by the id of the key that they are under in the end."""
    after, counts = None, Counter[str]()
    while True:
        batch = await _batch(pool, ring, sealed, after, dry_run=dry_run)
        if batch.reached is None:
            return counts
        after = batch.reached
        counts.update(batch.rest)
        if batch.resealed:
            counts[ring.write_id.hex()] += batch.resealed
        log.info(
            "keys.counting" if dry_run else "keys.rotating", kind=sealed.name, done=counts.total()
        )
        await asyncio.sleep(PAUSE_SECONDS)


async def _batch(
    pool: Pool, ring: KeyRing, sealed: SealedColumn, after: Sequence[Any] | None, *, dry_run: bool
) -> RotationBatch:
    """One batch, once more where the servers failed it: a deadlock with a service, for one."""
    for attempt in range(1, MAX_TRIES):
        try:
            return await _reseal(pool, ring, sealed, after, dry_run=dry_run)
        except Exception as error:
            if not is_infrastructure(error):
                raise
            log.warning("keys.interrupted", kind=sealed.name, attempt=attempt, exc_info=error)
            await asyncio.sleep(attempt)
    return await _reseal(pool, ring, sealed, after, dry_run=dry_run)


async def _reseal(
    pool: Pool, ring: KeyRing, sealed: SealedColumn, after: Sequence[Any] | None, *, dry_run: bool
) -> RotationBatch:
    async with transaction(pool) as conn:
        batch = await rotation.reseal(conn, ring, sealed, after=after, dry_run=dry_run)
        crash_point("keys.resealing")
    return batch
