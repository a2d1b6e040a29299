"""Keep what only newer code can read as dead letters, and replay it once this code can read it."""

from collections.abc import Sequence
from uuid import UUID

import structlog

from services.processor.intake.metrics import IntakeMetrics
from shared.actions import letter_replays
from shared.crypto import KeyRing, Undecryptable
from shared.messages import BrokenBundle, decode_bundle, describe_newer
from shared.store.audit import Requester
from shared.store.intake import dead_letters, letter_views
from shared.store.intake.letter_views import LetterFilter
from shared.store.intake.replays import LetterSelection
from shared.store.pool import Conn, Pool, transaction

log = structlog.get_logger()

#: The error of these letters.
NEWER = "newer: a later version wrote it, and replays it by itself"
#: Letters that are looked at in one transaction, and replayed in a second.
MAX_LETTERS = 100


class NewerMessages:
    def __init__(self, pool: Pool, ring: KeyRing, metrics: IntakeMetrics) -> None:
        self._pool = pool
        self._ring = ring
        self._metrics = metrics
        self._looked_at: UUID | None = None

    async def keep(self, messages: Sequence[bytes]) -> None:
        """Store the messages, sealed. Idempotent. Count and log those that are new."""
        async with transaction(self._pool) as conn:
            added = [
                await dead_letters.add_message(conn, self._ring, message, NEWER, "ours")
                for message in messages
            ]
        letter_ids = [letter_id for letter_id in added if letter_id is not None]
        if letter_ids:
            self._metrics.dead_letters.labels("message", "ours").inc(len(letter_ids))
            log.error(
                "messages.newer",
                count=len(letter_ids),
                letter_ids=letter_ids,
                reason=sorted({describe_newer(message) for message in messages}),
            )

    async def work_once(self) -> bool:
        """Look at the next letters and replay those that this version can read.

        Return whether there are more; after the last it begins again.
        """
        async with transaction(self._pool) as conn:
            letters = await letter_views.listed(
                conn,
                LetterFilter(fingerprint=dead_letters.message_fingerprint(NEWER)),
                after=self._looked_at,
                limit=MAX_LETTERS,
            )
            readable = [letter.id for letter in letters if await self._is_readable(conn, letter.id)]
            replay_id = None
            if readable:
                replay_id = await letter_replays.start(
                    conn,
                    LetterSelection(readable, None, None),
                    "replayed",
                    rate=MAX_LETTERS,
                    requester=Requester("processor", "this version can read them"),
                )
        if replay_id is not None:
            await letter_replays.run(self._pool, self._ring, replay_id, lambda _: None)
        are_more = len(letters) == MAX_LETTERS
        self._looked_at = letters[-1].id if are_more else None
        return are_more

    async def _is_readable(self, conn: Conn, letter_id: UUID) -> bool:
        try:
            body = await dead_letters.message_body(conn, self._ring, letter_id)
            return decode_bundle(body or b"").newer is None
        except (BrokenBundle, Undecryptable):
            return False
