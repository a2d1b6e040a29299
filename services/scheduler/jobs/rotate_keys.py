"""Rotate keys online: seal all data again under the newest key, in bounded batches."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import structlog

from services.scheduler.answers import Answer
from services.scheduler.jobs.batches import until_done
from shared.crypto import KeyRing, SubjectHasher
from shared.errors import StartupRefused
from shared.process import crash_points
from shared.process.crash_points import crash_point
from shared.settings.groups import (
    BodyKeySettings,
    DatabaseSettings,
    SubjectKeySettings,
    TokenKeySettings,
)
from shared.settings.load import load
from shared.settings.retention import RetentionSettings
from shared.store import audit, people, rotation
from shared.store.audit import Requester
from shared.store.connections import tracking_codes
from shared.store.pool import Pool, open_pool, transaction
from shared.store.rotation import RotationBatch, SealedColumn, SealedData

log = structlog.get_logger()

#: The pause between two batches, so that the services' own statements come first.
PAUSE_SECONDS = 0.05


class TokenRotation(DatabaseSettings, TokenKeySettings):
    pass


class BodyRotation(DatabaseSettings, BodyKeySettings):
    pass


async def rotate(data: SealedData, requester: Requester, *, dry_run: bool) -> None:
    """Seal `data` again under the newest key, or with `dry_run` only count its rows by key. Write
    an audit record.

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
        if not dry_run:
            async with transaction(pool) as conn:
                await audit.add(conn, requester, action="keys.rotate", subject=data)
        if data == "tokens" and not dry_run:
            await _seal_codes(pool, ring)
        for column in rotation.COLUMNS[data]:
            counts = await _rotate_column(pool, ring, column, dry_run=dry_run)
            if not counts:
                Answer("keys.counted", f"{column.name}: 0 rows.", kind=column.name, count=0).say()
            for key_id, count in sorted(counts.items()):
                is_newest = key_id == ring.write_id.hex()
                unopened += 0 if is_newest or dry_run else count
                Answer(
                    "keys.counted",
                    f"{column.name}: {count:,} rows under key {key_id}"
                    f"{', the newest' if is_newest else ''}.",
                    kind=column.name, key_id=key_id, count=count, newest=is_newest,
                ).say()  # fmt: skip
    if unopened:
        raise StartupRefused(
            [f"{unopened} rows are sealed under no key of the ring: they were not changed"]
        )


class PeopleKeys(RetentionSettings, SubjectKeySettings):
    pass


async def count_people() -> None:
    """Say how many hashes of people rest on each key, and when the last under an old one is gone.

    They are not made again: they go with their changes, by `porteiro retention`. What is not
    settled stays longer.
    """
    settings = load(PeopleKeys)
    hasher = SubjectHasher(settings.subject_keys)
    async with (
        open_pool(settings.database_url.get_secret_value(), name="rotate-keys", size=1) as pool,
        transaction(pool) as conn,
    ):
        uses = await people.key_uses(conn)
    if not uses:
        nobody = "Nobody's hash is stored."
        Answer("keys.counted", nobody, kind="change_people.hash", count=0).say()
    kept = timedelta(days=settings.retention_log_days)
    for key_id, use in uses.items():
        is_newest = key_id == hasher.write_id.hex()
        until = (use.last_received_at + kept).isoformat(timespec="seconds")
        Answer(
            "keys.counted",
            f"change_people.hash: {use.count:,} rows under key {key_id},"
            f" {'the newest' if is_newest else f'the last of them gone at {until}'}.",
            kind="change_people.hash", key_id=key_id, count=use.count, newest=is_newest,
            **({} if is_newest else {"gone_at": until}),
        ).say()  # fmt: skip


async def _seal_codes(pool: Pool, ring: KeyRing) -> None:
    """Seal the tracking codes that the version before stored as they are."""
    while True:
        async with transaction(pool) as conn:
            count = await tracking_codes.seal_clear_codes(conn, ring, limit=rotation.MAX_BATCH)
        if not count:
            return
        log.info("keys.codes_sealed", count=count)
        await asyncio.sleep(PAUSE_SECONDS)


async def _rotate_column(
    pool: Pool, ring: KeyRing, column: SealedColumn, *, dry_run: bool
) -> Counter[str]:
    """Return how many rows are sealed under each key, by key id, after the rotation."""
    after, counts = None, Counter[str]()
    while True:
        batch: RotationBatch = await until_done("keys.interrupted", column.name)(
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


async def _reseal(
    pool: Pool, ring: KeyRing, column: SealedColumn, after: Sequence[Any] | None, *, dry_run: bool
) -> RotationBatch:
    async with transaction(pool) as conn:
        batch = await rotation.reseal(conn, ring, column, after=after, dry_run=dry_run)
        crash_point("keys.resealing")
    return batch
