"""What a check found and what a webhook told end in the same state, whichever is recorded first."""

from datetime import timedelta
from itertools import permutations

from shared.actions.connection_state import record_facts
from shared.domain.account_changes import ChangeEffects
from shared.domain.facts import Fact, live_facts, whole_second
from shared.store.connections import connections
from shared.store.pool import Conn, now
from tests.support.eras import own
from tests.support.ownership import report
from tests.support.sending import WABA


async def test_the_order_of_webhooks_and_checks_does_not_matter(conn: Conn) -> None:
    """A check did not reach the WABA; a second later it was shared again; then it was banned."""
    await own(conn)
    at = whole_second(await now(conn)) - timedelta(minutes=1)

    async def check() -> None:
        [row] = await connections.lock(conn, [WABA])
        await record_facts(conn, row, [Fact("reach", "unreachable", at)])

    async def share() -> None:
        await report(conn, ChangeEffects(WABA, tuple(live_facts(at + timedelta(seconds=1)))))

    async def ban() -> None:
        ban = Fact("ban", "disabled", at + timedelta(seconds=2))
        await report(conn, ChangeEffects(WABA, (ban,)))

    ends = set()
    for steps in permutations((check, share, ban)):
        transaction = conn.transaction()
        await transaction.start()
        for step in steps:
            await step()
        [row] = await connections.lock(conn, [WABA])
        facts = await conn.fetch("SELECT name, value, at FROM connection_facts ORDER BY name")
        ends.add((row.status, tuple(map(tuple, facts))))
        await transaction.rollback()
    assert len(ends) == 1
    [(status, _)] = ends
    assert (status.state, status.reason) == ("disabled", "banned")
