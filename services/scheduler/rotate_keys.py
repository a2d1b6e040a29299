"""Rotating keys online: everything sealed comes under the newest key, in bounded batches."""

import asyncio

import structlog

from shared import crash
from shared.crash import crash_point
from shared.crypto import KeyRing
from shared.lifecycle import Refusal
from shared.settings import BodyKeySettings, DatabaseSettings, TokenKeySettings, hex_bytes, load
from shared.store import rotation
from shared.store.pool import Pool, open_pool, transaction
from shared.store.rotation import Sealed, Vault

log = structlog.get_logger()

#: Between two batches, so that services come first.
PAUSE_SECONDS = 0.05


class TokenRotation(DatabaseSettings, TokenKeySettings):
    pass


class BodyRotation(DatabaseSettings, BodyKeySettings):
    pass


async def rotate(vault: Vault, *, dry_run: bool) -> None:
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
        crash.arm(settings.crash_at)
    ring = KeyRing(hex_bytes(*keys))
    url = settings.database_url.get_secret_value()
    left = 0
    async with open_pool(url, name="rotate-keys", size=1) as pool:
        for sealed in rotation.COLUMNS[vault]:
            if not dry_run:
                left += await _rotate(pool, ring, sealed)
            await _tell(pool, ring, sealed)
    if left:
        raise Refusal([f"{left} rows are sealed under no key of the ring: they were left as is"])


async def _rotate(pool: Pool, ring: KeyRing, sealed: Sealed) -> int:
    """How many rows no key opens."""
    after, done, left = None, 0, 0
    while True:
        async with transaction(pool) as connection:
            step = await rotation.reseal(connection, ring, sealed, after=after)
            crash_point("keys.resealing")
        if step.reached is None:
            return left
        after, done, left = step.reached, done + step.resealed, left + step.undecryptable
        log.info("keys.rotating", kind=sealed.name, done=done, kept=left)
        await asyncio.sleep(PAUSE_SECONDS)


async def _tell(pool: Pool, ring: KeyRing, sealed: Sealed) -> None:
    async with transaction(pool) as connection:
        counts = await rotation.count(connection, sealed)
    for key_id, count in counts.items():
        is_newest = key_id == ring.write_id.hex()
        log.info("keys.counted", kind=sealed.name, key_id=key_id, count=count, newest=is_newest)
    if not counts:
        log.info("keys.counted", kind=sealed.name, count=0)
