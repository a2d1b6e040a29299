"""The ingress dates webhooks by PostgreSQL's clock, however wrong its own is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import time_machine
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch
from structlog.testing import capture_logs

from services.ingress import clock
from services.ingress.clock import DatabaseClock
from shared.store.pool import Conn, Pool, now

SKEW = "porteiro_clock_skew_seconds"


def wrong_by(skew: timedelta) -> time_machine.travel:
    """Run with this process's clock slow by `skew`."""
    return time_machine.travel(datetime.now(UTC) - skew, tick=True)


@pytest.mark.parametrize("skew", [timedelta(minutes=5), timedelta(minutes=-5)])
async def test_a_clock_that_is_wrong_is_corrected_and_told_once(
    pool: Pool, conn: Conn, skew: timedelta
) -> None:
    registry = CollectorRegistry()
    database_clock = DatabaseClock(registry)
    with wrong_by(skew), capture_logs() as logs:
        assert abs(database_clock.now() + skew - await now(conn)) < timedelta(seconds=1)
        for _ in range(3):
            await database_clock.measure(pool)
        assert abs(database_clock.now() - await now(conn)) < timedelta(seconds=1)
    measured = registry.get_sample_value(SKEW)
    assert measured is not None
    assert abs(measured - skew.total_seconds()) < 1
    assert [entry["event"] for entry in logs] == ["clock.skewed"]


async def test_without_an_answer_the_last_measure_holds(
    pool: Pool, conn: Conn, monkeypatch: MonkeyPatch
) -> None:
    def away(_: Pool) -> Callable[[], None]:
        raise OSError("away")

    database_clock = DatabaseClock(CollectorRegistry())
    with wrong_by(timedelta(minutes=5)):
        await database_clock.measure(pool)
        monkeypatch.setattr(clock, "transaction", away)
        with pytest.raises(OSError, match="away"):
            await database_clock.measure(pool)
        assert abs(database_clock.now() - await now(conn)) < timedelta(seconds=1)
