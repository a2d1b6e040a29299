"""The stack on one machine: complete, mended when something dies, and gone without a trace."""

import asyncio
import stat
from collections.abc import AsyncIterator
from hashlib import sha256
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

import aiohttp
import asyncpg
import psutil
import pytest
from yarl import URL

from deploy.local.simulated_meta.writing import write
from deploy.local.stack import install
from shared.broker.topology import DEAD, WORK_QUEUES
from tests.support.local_stack import LocalStack, is_alive, listening
from tests.support.sending import message, post
from tests.support.waiting import eventually

pytestmark = pytest.mark.xdist_group("stack")


@pytest.fixture(scope="module")
async def only_stack(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalStack]:
    stack = LocalStack(tmp_path_factory.mktemp("stack"))
    try:
        yield stack
    finally:
        await stack.run("down")


@pytest.fixture
async def stack(only_stack: LocalStack) -> LocalStack:
    """Up, whatever the test before did to it."""
    if not only_stack.file.exists():
        await only_stack.run("up")
    return only_stack


async def kill_and_await(stack: LocalStack, name: str) -> None:
    """Kill it, and wait until stack.json names another living process."""
    killed = stack.facts["pids"][name]
    psutil.Process(killed).kill()

    async def came_back() -> bool:
        pid = stack.facts["pids"][name]
        return pid != killed and psutil.pid_exists(pid)

    await eventually(came_back)


async def carry_a_webhook(stack: LocalStack, number: int) -> None:
    """Post it until it is taken, as Meta would, and wait until it is done with."""
    facts = stack.facts
    body = write(message(number))

    async def is_taken() -> bool:
        try:
            return await post(client, body, facts["app_secret"]) == 200
        except aiohttp.ClientError:
            return False

    async def is_processed() -> bool:
        try:
            conn = await asyncpg.connect(facts["database"], timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            query = "SELECT bool_and(processed) FROM webhook_log WHERE digest = $1"
            return bool(await conn.fetchval(query, sha256(body).digest()))
        finally:
            await conn.close()

    async with aiohttp.ClientSession(facts["ingress"]) as client:
        await eventually(is_taken)
    await eventually(is_processed)


async def road_of(stack: LocalStack, number: int) -> str:
    """By which way this webhook was stored last."""
    conn = await asyncpg.connect(stack.facts["database"], timeout=5)
    try:
        query = (
            "SELECT stored_via::text FROM webhook_log WHERE digest = $1 ORDER BY id DESC LIMIT 1"
        )
        return str(await conn.fetchval(query, sha256(write(message(number))).digest()))
    finally:
        await conn.close()


async def rabbitmqctl(stack: LocalStack, *arguments: str) -> None:
    """With the server's own environment: its node's name, cookie and port mapper."""
    env = psutil.Process(stack.facts["pids"]["rabbitmq"]).environ()
    process = await asyncio.create_subprocess_exec(
        str(install.find("rabbitmqctl")), *arguments,
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()


async def test_stack_json_tells_everything_and_only_to_its_owner(stack: LocalStack) -> None:
    facts = stack.facts
    urls = {"ingress", "simulated_meta", "database", "redis", "rabbitmq", "rabbitmq_management"}
    secrets = {"app_secret", "verify_token"}
    later = {"console", "prometheus", "api_key", "operator"}
    assert facts.keys() >= urls | secrets | later | {"pids"}
    assert {urlsplit(facts[name]).hostname for name in urls} == {"127.0.0.1"}
    assert all(urlsplit(facts[name]).port for name in urls)
    assert all(len(facts[name]) == 32 for name in secrets)
    assert stat.S_IMODE(stack.file.stat().st_mode) == 0o600


async def test_the_pids_are_those_of_the_servers_themselves(stack: LocalStack) -> None:
    processes = {name: psutil.Process(pid) for name, pid in stack.facts["pids"].items()}
    services = {"ingress", "processor", "console", "simulated_meta"}
    assert processes.keys() == services | {"postgresql", "redis", "rabbitmq", "epmd"}
    assert processes["postgresql"].name() == "postgres"
    assert processes["redis"].name() == "redis-server"
    assert processes["rabbitmq"].name().startswith("beam")
    for name in services:
        assert processes[name].cmdline()[-1].endswith(name)


async def test_every_queue_of_the_broker_is_as_designed(stack: LocalStack) -> None:
    url = URL(stack.facts["rabbitmq"])
    headers = {"Authorization": aiohttp.encode_basic_auth(str(url.user), str(url.password))}
    async with aiohttp.ClientSession(stack.facts["rabbitmq_management"], headers=headers) as client:
        async with client.get("/api/queues") as answer:
            queues = {one["name"]: one for one in await answer.json()}
        async with client.get("/api/exchanges") as answer:
            exchanges = {one["name"]: one["type"] for one in await answer.json()}
    waits = ["retry.30", "retry.300", "retry.1800"]
    assert queues.keys() == {*WORK_QUEUES, DEAD, *waits}
    for name, queue in queues.items():
        found = queue["arguments"]
        assert found["x-queue-type"] == "quorum"
        assert found["x-overflow"] == "reject-publish"
        assert (found["x-max-length"], found["x-max-length-bytes"]) == (1_000_000, 8 * 1024**3)
        dead_letters = {
            DEAD: None, **dict.fromkeys(waits, "work")
        }.get(name, "dead")  # fmt: skip
        assert found.get("x-dead-letter-exchange") == dead_letters
        assert found.get("x-dead-letter-strategy") == (dead_letters and "at-least-once")
        limits = {DEAD: 1_000_000, **dict.fromkeys(waits)}
        assert found.get("x-delivery-limit") == limits.get(name, 100)
    ours = {"work": "direct", "dead": "fanout", "whatsapp.events": "topic"}
    assert exchanges.items() >= (ours | dict.fromkeys(waits, "fanout")).items()


async def test_a_broker_that_blocks_its_publishers_is_left_for_the_database(
    stack: LocalStack,
) -> None:
    """Short of memory, RabbitMQ stops reading from whoever publishes, and says nothing."""
    await carry_a_webhook(stack, 10)
    await rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.0000001")
    try:
        await carry_a_webhook(stack, 11)
        assert await road_of(stack, 11) == "database"
    finally:
        await rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.4")

    async def back_on_the_broker() -> bool:
        await carry_a_webhook(stack, 12)
        return await road_of(stack, 12) == "broker"

    await eventually(back_on_the_broker)


async def test_nothing_listens_beyond_this_machine(stack: LocalStack) -> None:
    addresses = {address for address, _ in listening(stack.processes())}
    assert "127.0.0.1" in addresses
    assert [one for one in addresses if not ip_address(one).is_loopback] == []


async def test_a_killed_ingress_comes_back(stack: LocalStack) -> None:
    await kill_and_await(stack, "ingress")
    await carry_a_webhook(stack, 1)


async def test_a_killed_postgresql_comes_back_and_webhooks_are_processed(
    stack: LocalStack,
) -> None:
    await carry_a_webhook(stack, 2)
    await kill_and_await(stack, "postgresql")
    await carry_a_webhook(stack, 3)


async def test_up_after_the_supervisor_was_killed_replaces_everything(stack: LocalStack) -> None:
    first = stack.processes()
    stack.supervisor().kill()
    await stack.run("up")
    assert [process for process in first if is_alive(process)] == []
    await carry_a_webhook(stack, 4)


async def test_down_leaves_nothing(stack: LocalStack) -> None:
    processes = stack.processes()
    places = listening(processes)
    command = psutil.Process(stack.facts["pids"]["postgresql"]).cmdline()
    data = Path(command[command.index("-D") + 1]).parent
    assert len(places) >= 8
    assert data.is_dir()

    await stack.run("down")
    assert [process for process in processes if is_alive(process)] == []
    assert stack.processes() == set()
    assert listening().isdisjoint(places)
    assert not stack.file.exists()
    assert not data.exists()
