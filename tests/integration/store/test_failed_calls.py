"""Failed calls are bounded: an outage of days leaves no more of a WABA than its newest."""

from shared.domain.graph_errors import MetaUnavailable
from shared.store.connections import failed_calls
from shared.store.connections.failed_calls import MAX_KEPT
from shared.store.pool import Conn, Pool


async def test_the_newest_failed_calls_of_a_subject_are_kept(pool: Pool, conn: Conn) -> None:
    error = MetaUnavailable("meta_unavailable", code=2)
    await failed_calls.keep(pool, "7315", "", error)
    for number in range(MAX_KEPT + 3):
        await failed_calls.keep(pool, "7314", str(number), error)
    kept = await failed_calls.latest(conn, "7314", limit=2 * MAX_KEPT)
    assert [int(call.phone_number_id) for call in kept] == list(range(MAX_KEPT + 2, 2, -1))
    assert len(await failed_calls.latest(conn, "7315", limit=2)) == 1
