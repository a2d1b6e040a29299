"""What newer code wrote stops nothing that is older, and is worked once the code is newer."""

import orjson
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch

from deploy.local.simulated_meta.writing import write
from services.processor.intake.metrics import IntakeMetrics
from services.processor.intake.newer_messages import NEWER, NewerMessages
from shared import messages
from shared.broker.topology import DEAD, RAW
from shared.crypto import KeyRing
from shared.store.intake import dead_letters
from shared.store.pool import Conn, Pool
from tests.support import running
from tests.support.broker import Broker
from tests.support.bundles import bundle, until_states
from tests.support.sending import message
from tests.support.waiting import eventually

OPEN = "SELECT count(*) FROM dead_letters WHERE closed_at IS NULL AND error = $1"


def with_a_newer_kind(*bodies: bytes) -> bytes:
    """Return a bundle whose last webhook is of a kind that is not known yet."""
    content = orjson.loads(bundle(*bodies))
    content["webhooks"][-1]["kind"] = "newer"
    return orjson.dumps(content)


async def until_kept(conn: Conn, count: int) -> None:
    async def are_kept() -> bool:
        return bool(await conn.fetchval(OPEN, NEWER) == count)

    await eventually(are_kept)


async def test_one_webhook_of_a_newer_kind_keeps_back_none_of_its_bundle(
    environment: dict[str, str], broker: Broker, conn: Conn, ring: KeyRing, monkeypatch: MonkeyPatch
) -> None:
    await broker.put(RAW, with_a_newer_kind(*(write(message(n)) for n in range(10))))
    async with running.processor(environment):
        await until_states(conn, split=9)
        await until_kept(conn, 1)
    letter_id = await conn.fetchval("SELECT id FROM dead_letters")
    kept = await dead_letters.message_body(conn, ring, letter_id)
    assert len(orjson.loads(kept or b"")["webhooks"]) == 1

    monkeypatch.setattr(messages, "WEBHOOK_KINDS", ("whatsapp", "test", "newer"))
    await conn.execute("ALTER TYPE webhook_kind ADD VALUE IF NOT EXISTS 'newer'")
    async with running.processor(environment):
        await until_states(conn, split=10)
        await until_kept(conn, 0)


async def test_many_messages_of_a_newer_version_do_not_stop_today_s(
    environment: dict[str, str], broker: Broker, conn: Conn
) -> None:
    """They are more than the prefetch."""
    for number in range(70):
        await broker.put(RAW, orjson.dumps({"version": 2, "webhooks": f"form {number}"}))
    await broker.put(RAW, bundle(write(message(1))))
    async with running.processor(environment):
        await until_states(conn, split=1)
        await until_kept(conn, 70)

        async def is_empty() -> bool:
            return await broker.count(RAW) == 0

        await eventually(is_empty)
    assert await broker.count(DEAD) == 0


async def test_a_kept_message_that_cannot_be_opened_or_comes_late_holds_back_no_other(
    pool: Pool, conn: Conn, ring: KeyRing
) -> None:
    other = KeyRing([b"z" * 32])
    await dead_letters.add_message(conn, other, bundle(write(message(1))), NEWER, "ours")
    newer = NewerMessages(pool, ring, IntakeMetrics(CollectorRegistry()))
    for count in (1, 2):  # the second is kept after the first look
        body = bundle(write(message(1 + count)))
        await dead_letters.add_message(conn, ring, body, NEWER, "ours")
        await newer.work_once()
        assert await conn.fetchval("SELECT count(*) FROM webhook_log") == count
    assert await conn.fetchval(OPEN, NEWER) == 1
