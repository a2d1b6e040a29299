"""Notice the first webhook of a WABA whose setup waits for one, whatever the webhook says."""

from collections.abc import Iterable
from datetime import UTC, datetime

from shared.domain.facts import Fact, whole_second
from shared.store.connections import facts, follow_ups
from shared.store.pool import Pool, transaction

#: WABAs that are remembered, here and in the query. Beyond it a setup goes on by itself, later.
MAX_WABAS = 10_000


class AwaitedWebhooks:
    """The WABAs heard of lately, by this process. Storing a webhook costs no statement for it."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._heard: dict[str, datetime] = {}

    def heard(self, waba_ids: Iterable[str]) -> None:
        """Remember that webhooks of these WABAs are stored."""
        at = datetime.now(UTC)
        for waba_id in waba_ids:
            self._heard.pop(waba_id, None)
            self._heard[waba_id] = at
        while len(self._heard) > MAX_WABAS:
            del self._heard[next(iter(self._heard))]

    async def work_once(self) -> bool:
        """Wake the setups that wait for a webhook of a WABA that was heard of. Return False: there
        is never more to do at once."""
        async with transaction(self._pool) as conn:
            awaited = await follow_ups.awaiting_webhook(conn, MAX_WABAS)
            if found := awaited & self._heard.keys():
                await facts.record(
                    conn, {waba_id: [_fact(self._heard[waba_id])] for waba_id in found}
                )
                await follow_ups.wake_waiting(conn, found)
        return False


def _fact(at: datetime) -> Fact:
    return Fact("webhook_received", "webhook", whole_second(at))
