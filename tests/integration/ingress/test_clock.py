"""The ingress dates webhooks by PostgreSQL's clock, however wrong its own is."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from pytest import MonkeyPatch
from structlog.testing import capture_logs

from services.ingress import clock
from services.ingress.clock import DatabaseClock
from shared.store.pool import Conn, Pool, now

SKEW = "porteiro_clock_skew_seconds"


def slow_by(skew: timedelta) -> Any:
    """Return a datetime class whose clock is slow by `skew`."""

    class Slow(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> datetime:  # type: ignore[override]
            return datetime.now(tz) - skew

    return Slow


@pytest.mark.parametrize("skew", [timedelta(minutes=5), timedelta(minutes=-5)])
async def test_a_clock_that_is_wrong_is_corrected_and_told_once(
    pool: Pool, conn: Conn, monkeypatch: MonkeyPatch, skew: timedelta
) -> None:
    monkeypatch.setattr(clock, "datetime", slow_by(skew))
    registry = CollectorRegistry()
    database_clock = DatabaseClock(registry)
    assert abs(database_clock.now() + skew - datetime.now(UTC)) < timedelta(seconds=1)
    with capture_logs() as logs:
        for _ in range(3):
            await database_clock.measure(pool)
    assert abs(database_clock.now() - await now(conn)) < timedelta(seconds=1)
    measured = registry.get_sample_value(SKEW)
    assert measured is not None
    assert abs(measured - skew.total_seconds()) < 1
    assert [entry["event"] for entry in logs] == ["clock.skewed"]


async def test_without_an_answer_the_last_measure_holds(
    pool: Pool, monkeypatch: MonkeyPatch
) -> None:
    skew = timedelta(minutes=5)
    monkeypatch.setattr(clock, "datetime", slow_by(skew))
    database_clock = DatabaseClock(CollectorRegistry())
    await database_clock.measure(pool)

    def away(_: Pool) -> Callable[[], None]:
        raise OSError("away")

    monkeypatch.setattr(clock, "transaction", away)
    with pytest.raises(OSError, match="away"):
        await database_clock.measure(pool)
    assert abs(database_clock.now() - datetime.now(UTC)) < timedelta(seconds=1)
