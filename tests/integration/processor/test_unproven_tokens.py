"""The processor deletes the unproven tokens of onboardings that ended."""

from services.processor.unproven_tokens import UnprovenTokens
from shared.store.connections import follow_ups
from shared.store.pool import Conn, Pool
from tests.integration.scheduler.test_cleanup import expire, start
from tests.support import running
from tests.support.waiting import eventually

HELD = "SELECT array_agg(id::text) FROM whatsapp_onboarding WHERE token IS NOT NULL"


async def test_tokens_of_ended_onboardings_go_and_awaited_ones_stay(pool: Pool, conn: Conn) -> None:
    names = ("blocked", "living", "proving", "completed", "completed and proving")
    ids = {name: await start(conn, name) for name in names}
    await follow_ups.add(conn, "prove", [ids[name] for name in names if name != "living"])
    await conn.execute(
        "UPDATE follow_ups SET state = 'blocked' WHERE subject = ANY($1)",
        [ids["blocked"], ids["completed"]],
    )
    await conn.execute(
        "UPDATE whatsapp_onboarding SET state = 'completed' WHERE id::text = ANY($1)",
        [ids["completed"], ids["completed and proving"]],
    )
    await expire(conn, ids["blocked"], ids["proving"])
    assert not await UnprovenTokens(pool).work_once()
    left = {name for name, id_ in ids.items() if id_ in await conn.fetchval(HELD)}
    assert left == {"living", "proving", "completed and proving"}


async def test_the_processor_does_it_by_itself(environment: dict[str, str], conn: Conn) -> None:
    await expire(conn, await start(conn, "ended"))

    async def is_gone() -> bool:
        return await conn.fetchval(HELD) is None

    async with running.processor(environment):
        await eventually(is_gone)
