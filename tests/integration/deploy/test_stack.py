"""The local stack is complete, restarts killed processes, and leaves nothing after `down`."""

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
from tests.support.local_stack import LocalStack, is_alive, listening_addresses
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
    """Return the running stack. Start it again if the previous test stopped it."""
    if not only_stack.file.exists():
        await only_stack.run("up")
    return only_stack


async def kill_and_wait(stack: LocalStack, name: str) -> None:
    """Kill the process, and wait until stack.json names another one that runs."""
    killed = stack.details["pids"][name]
    psutil.Process(killed).kill()

    async def is_replaced() -> bool:
        pid = stack.details["pids"][name]
        return pid != killed and psutil.pid_exists(pid)

    await eventually(is_replaced)


async def process_webhook(stack: LocalStack, number: int) -> None:
    """Post a webhook until it is accepted, as Meta would. Wait until it is processed."""
    details = stack.details
    body = write(message(number))

    async def is_accepted() -> bool:
        try:
            return await post(client, body, details["app_secret"]) == 200
        except aiohttp.ClientError:
            return False

    async def is_processed() -> bool:
        try:
            conn = await asyncpg.connect(details["database"], timeout=5)
        except (OSError, asyncpg.PostgresError):
            return False
        try:
            query = "SELECT bool_and(processed) FROM webhook_log WHERE digest = $1"
            return bool(await conn.fetchval(query, sha256(body).digest()))
        finally:
            await conn.close()

    async with aiohttp.ClientSession(details["ingress"]) as client:
        await eventually(is_accepted)
    await eventually(is_processed)


async def stored_via(stack: LocalStack, number: int) -> str:
    """Return `stored_via` of the webhook's newest row."""
    conn = await asyncpg.connect(stack.details["database"], timeout=5)
    try:
        query = (
            "SELECT stored_via::text FROM webhook_log WHERE digest = $1 ORDER BY id DESC LIMIT 1"
        )
        return str(await conn.fetchval(query, sha256(write(message(number))).digest()))
    finally:
        await conn.close()


async def rabbitmqctl(stack: LocalStack, *arguments: str) -> None:
    """Run rabbitmqctl with the server's environment, which has its node name, cookie and epmd."""
    env = psutil.Process(stack.details["pids"]["rabbitmq"]).environ()
    process = await asyncio.create_subprocess_exec(
        str(install.find("rabbitmqctl")), *arguments,
        env=env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, output.decode()


async def test_stack_json_is_complete_and_readable_only_by_its_owner(stack: LocalStack) -> None:
    details = stack.details
    urls = {"ingress", "simulated_meta", "database", "redis", "rabbitmq", "rabbitmq_management"}
    secrets = {"app_secret", "verify_token"}
    later = {"console", "prometheus", "api_key", "operator"}
    assert details.keys() >= urls | secrets | later | {"pids"}
    assert {urlsplit(details[name]).hostname for name in urls} == {"127.0.0.1"}
    assert all(urlsplit(details[name]).port for name in urls)
    assert all(len(details[name]) == 32 for name in secrets)
    assert stat.S_IMODE(stack.file.stat().st_mode) == 0o600


async def test_the_pids_are_those_of_the_servers(stack: LocalStack) -> None:
    processes = {name: psutil.Process(pid) for name, pid in stack.details["pids"].items()}
    services = {"ingress", "processor", "console", "token_health", "scheduler", "simulated_meta"}
    assert processes.keys() == services | {"postgresql", "redis", "rabbitmq", "epmd"}
    assert processes["postgresql"].name() == "postgres"
    assert processes["redis"].name() == "redis-server"
    assert processes["rabbitmq"].name().startswith("beam")
    for name in services:
        assert any(part.endswith(name) for part in processes[name].cmdline())


async def test_every_queue_of_the_broker_is_as_designed(stack: LocalStack) -> None:
    url = URL(stack.details["rabbitmq"])
    headers = {"Authorization": aiohttp.encode_basic_auth(str(url.user), str(url.password))}
    async with aiohttp.ClientSession(
        stack.details["rabbitmq_management"], headers=headers
    ) as client:
        async with client.get("/api/queues") as answer:
            queues = {queue["name"]: queue for queue in await answer.json()}
        async with client.get("/api/exchanges") as answer:
            exchanges = {exchange["name"]: exchange["type"] for exchange in await answer.json()}
    delay_queues = ["retry.30", "retry.300", "retry.1800"]
    assert queues.keys() == {*WORK_QUEUES, DEAD, *delay_queues}
    for name, queue in queues.items():
        arguments = queue["arguments"]
        assert arguments["x-queue-type"] == "quorum"
        assert arguments["x-overflow"] == "reject-publish"
        assert (arguments["x-max-length"], arguments["x-max-length-bytes"]) == (
            1_000_000,
            8 * 1024**3,
        )
        dead_letters = {
            DEAD: None, **dict.fromkeys(delay_queues, "work")
        }.get(name, "dead")  # fmt: skip
        assert arguments.get("x-dead-letter-exchange") == dead_letters
        assert arguments.get("x-dead-letter-strategy") == (dead_letters and "at-least-once")
        limits = {DEAD: 1_000_000, **dict.fromkeys(delay_queues)}
        assert arguments.get("x-delivery-limit") == limits.get(name, 100)
    designed = {"work": "direct", "dead": "fanout", "whatsapp.events": "topic"}
    assert exchanges.items() >= (designed | dict.fromkeys(delay_queues, "fanout")).items()


async def test_webhooks_go_to_the_database_while_the_broker_blocks_publishers(
    stack: LocalStack,
) -> None:
    """RabbitMQ with too little memory stops reading from publishers and gives no error."""
    await process_webhook(stack, 10)
    await rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.0000001")
    try:
        await process_webhook(stack, 11)
        assert await stored_via(stack, 11) == "database"
    finally:
        await rabbitmqctl(stack, "set_vm_memory_high_watermark", "0.4")

    async def back_on_the_broker() -> bool:
        await process_webhook(stack, 12)
        return await stored_via(stack, 12) == "broker"

    await eventually(back_on_the_broker)


async def test_nothing_listens_beyond_this_machine(stack: LocalStack) -> None:
    addresses = {address for address, _ in listening_addresses(stack.processes())}
    assert "127.0.0.1" in addresses
    assert [address for address in addresses if not ip_address(address).is_loopback] == []


async def test_a_killed_ingress_is_restarted(stack: LocalStack) -> None:
    await kill_and_wait(stack, "ingress")
    await process_webhook(stack, 1)


async def test_a_killed_postgresql_is_restarted_and_webhooks_are_processed(
    stack: LocalStack,
) -> None:
    await process_webhook(stack, 2)
    await kill_and_wait(stack, "postgresql")
    await process_webhook(stack, 3)


async def test_up_over_a_running_stack_changes_nothing(stack: LocalStack) -> None:
    before = stack.details
    said = await stack.run("up")
    assert "running already" in said
    assert f"Meta posts to {before['ingress']}/api/v1/whatsapp/webhook" in said
    assert stack.details == before


async def test_up_after_the_supervisor_was_killed_replaces_everything(stack: LocalStack) -> None:
    old = stack.processes()
    stack.supervisor().kill()
    await stack.run("up")
    assert [process for process in old if is_alive(process)] == []
    await process_webhook(stack, 4)


async def test_down_leaves_nothing(stack: LocalStack) -> None:
    processes = stack.processes()
    ports = listening_addresses(processes)
    command = psutil.Process(stack.details["pids"]["postgresql"]).cmdline()
    data = Path(command[command.index("-D") + 1]).parent
    assert len(ports) >= 8
    assert data.is_dir()

    env_file = (stack.file.parent / "porteiro.env").read_text()
    assert "export PORTEIRO_ENV=" in env_file
    await stack.run("down")
    assert [process for process in processes if is_alive(process)] == []
    assert stack.processes() == set()
    assert listening_addresses().isdisjoint(ports)
    assert not stack.file.exists()
    assert not data.exists()
