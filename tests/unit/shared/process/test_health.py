"""Probes: alive while the process runs; ready while each group of needs has a dependency up."""

from collections.abc import AsyncIterator

import aiohttp
import pytest
from prometheus_client import CollectorRegistry

from deploy.local.stack.servers import LOOPBACK, free_port
from shared.process.health import Health, serve_health


@pytest.fixture
async def client(
    health: Health, registry: CollectorRegistry
) -> AsyncIterator[aiohttp.ClientSession]:
    port = free_port()
    async with (
        serve_health(health, registry, host=LOOPBACK, port=port),
        aiohttp.ClientSession(f"http://{LOOPBACK}:{port}") as session,
    ):
        yield session


async def ready(client: aiohttp.ClientSession) -> tuple[int, object]:
    async with client.get("/readyz") as response:
        return response.status, await response.json()


async def test_a_process_is_alive_whatever_is_down(
    health: Health, client: aiohttp.ClientSession
) -> None:
    health.needs = [[health.dependency("database")]]

    async with client.get("/healthz") as response:
        assert (response.status, await response.text()) == (200, "alive")


async def test_one_dependency_of_a_group_is_enough_and_every_group_is_needed(
    health: Health, client: aiohttp.ClientSession
) -> None:
    broker, database, cache = map(health.dependency, ("broker", "database", "cache"))
    health.needs = [[broker, database], [cache]]
    expected = [
        ((False, False, False), 503),
        ((True, False, False), 503),
        ((True, False, True), 200),
        ((False, True, True), 200),
        ((True, True, True), 200),
        ((False, False, True), 503),
    ]

    for states, status in expected:
        for dependency, up in zip((broker, database, cache), states, strict=True):
            dependency.mark(up=up)
        assert (await ready(client))[0] == status


async def test_a_dependency_that_is_not_needed_leaves_it_ready_but_is_shown(
    health: Health, client: aiohttp.ClientSession
) -> None:
    database, cache = health.dependency("database"), health.dependency("cache")
    health.needs = [[database]]
    database.mark(up=True)
    cache.mark(up=False)

    assert await ready(client) == (
        200,
        {"ready": True, "stopping": False, "dependencies": {"database": "up", "cache": "down"}},
    )


async def test_a_process_that_stops_is_not_ready(
    health: Health, client: aiohttp.ClientSession
) -> None:
    health.stopping = True

    assert await ready(client) == (503, {"ready": False, "stopping": True, "dependencies": {}})


async def test_leaving_the_block_stops_readiness_and_frees_the_port(
    health: Health, registry: CollectorRegistry
) -> None:
    port = free_port()
    for _ in range(2):
        async with serve_health(health, registry, host=LOOPBACK, port=port):
            pass

    assert health.stopping
    assert not health.ready


async def test_metrics_say_which_dependency_is_up(
    health: Health, client: aiohttp.ClientSession
) -> None:
    health.dependency("database").mark(up=True)
    health.dependency("broker").mark(up=False)

    async with client.get("/metrics") as response:
        text = await response.text()

    assert response.content_type == "text/plain"
    assert 'porteiro_dependency_up{dependency="database"} 1.0' in text
    assert 'porteiro_dependency_up{dependency="broker"} 0.0' in text
