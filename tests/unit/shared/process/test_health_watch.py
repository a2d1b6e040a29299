"""Watch a dependency: mark it at every check, log it only when it changes."""

import asyncio

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from shared.errors import StartupRefused
from shared.process.health import Dependency, Health


def test_only_a_change_is_logged(health: Health) -> None:
    database = health.dependency("database")

    with capture_logs() as logs:
        for up in (False, False, True, True, False):
            database.mark(up=up)

    events = [(line["event"], line["dependency"]) for line in logs]
    assert events == [
        ("dependency.down", "database"),
        ("dependency.up", "database"),
        ("dependency.down", "database"),
    ]


def test_an_outage_names_host_and_port_and_no_password(health: Health) -> None:
    url = SecretStr("postgresql://porteiro:secret@a.example:5432,b.example/porteiro")
    with capture_logs() as logs:
        health.dependency("database", url).mark(up=False)
    assert logs[0]["address"] == "a.example:5432,b.example"
    assert "secret" not in str(logs)


async def test_a_watch_marks_each_check_and_goes_on(health: Health) -> None:
    database = health.dependency("database")
    outcomes = [OSError("refused"), None, TimeoutError(), None]
    seen: list[bool] = []

    async def check() -> None:
        seen.append(database.up)
        if not outcomes:
            raise StartupRefused(["old schema"])
        if (outcome := outcomes.pop(0)) is not None:
            raise outcome

    with pytest.raises(StartupRefused):
        await database.watch(check, every_seconds=0)

    assert seen == [False, False, True, False, True]


async def test_the_first_check_counts_as_seen_whether_it_fails_or_not(health: Health) -> None:
    async def fails() -> None:
        raise OSError

    dependency: Dependency = health.dependency("database")
    assert not dependency.seen.is_set()

    watching = asyncio.create_task(dependency.watch(fails, every_seconds=60))
    await dependency.seen.wait()
    watching.cancel()

    assert not dependency.up
