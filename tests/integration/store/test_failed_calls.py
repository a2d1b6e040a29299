"""Failed calls are bounded: while Meta is away, one an hour of each kind is kept."""

import pytest

from shared.domain.graph_errors import GraphError, MetaRefused, MetaThrottled, MetaUnavailable
from shared.store.connections import failed_calls
from shared.store.pool import Conn, Pool


async def kept(conn: Conn) -> int:
    return len(await failed_calls.latest(conn, "7314", limit=10))


@pytest.mark.parametrize("error", [MetaUnavailable("meta_unavailable", 2), MetaThrottled(60, 4)])
async def test_that_meta_is_away_is_kept_once_an_hour(
    pool: Pool, conn: Conn, error: GraphError
) -> None:
    for subject, number in (("7314", ""), ("7314", ""), ("7314", "1"), ("7315", "")):
        await failed_calls.keep(pool, subject, number, error)
    assert await kept(conn) == 2
    await conn.execute("UPDATE failed_calls SET at = at - interval '1 hour'")
    await failed_calls.keep(pool, "7314", "", error)
    assert await kept(conn) == 3


async def test_each_refusal_is_kept(pool: Pool, conn: Conn) -> None:
    for _ in range(3):
        await failed_calls.keep(pool, "7314", "", MetaRefused("bad_request", 100))
    assert await kept(conn) == 3
