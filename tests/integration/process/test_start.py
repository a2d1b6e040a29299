"""Real processes refuse to start on wrong settings or schemas, and start without servers."""

import os
import signal
from typing import Any

import aiohttp
import pytest

from deploy.local.stack.servers import LOOPBACK, free_port
from shared.process.lifecycle import EXIT_REFUSED
from shared.store.migrate import migrate
from tests.support import servers
from tests.support.environment import service_environment
from tests.support.processes import PASSWORD, start, wait_for_exit
from tests.support.waiting import eventually


def faults(log: list[dict[str, Any]]) -> list[str]:
    return [line["fault"] for line in log if "fault" in line]


@pytest.mark.parametrize(
    ("module", "missing"),
    [
        (
            "services.ingress",
            "BODY_ENCRYPTION_KEY DATABASE_URL META_APP_SECRET META_WEBHOOK_VERIFY_TOKEN"
            " RABBITMQ_URL REDIS_URL",
        ),
        (
            "services.processor",
            "BODY_ENCRYPTION_KEY DATABASE_URL META_APP_ACCESS_TOKEN META_APP_ID META_APP_SECRET"
            " RABBITMQ_URL REDIS_URL SUBJECT_HASH_KEY TOKEN_ENCRYPTION_KEY",
        ),
        (
            "services.console",
            "CONSOLE_URL DATABASE_URL META_APP_ACCESS_TOKEN META_APP_ID META_APP_SECRET"
            " META_CONFIG_ID RABBITMQ_URL REDIS_URL TOKEN_ENCRYPTION_KEY",
        ),
    ],
)
async def test_missing_settings_are_all_named_at_once(module: str, missing: str) -> None:
    code, log = await wait_for_exit(await start(module, env={}))
    assert code == EXIT_REFUSED
    assert [fault.split()[0] for fault in faults(log)] == missing.split()
    assert all(" is missing: expected " in fault for fault in faults(log))


@pytest.mark.parametrize(
    ("job", "variable"), [("migrate", "DATABASE_URL"), ("topology", "RABBITMQ_URL")]
)
async def test_a_job_names_its_missing_setting(job: str, variable: str) -> None:
    code, log = await wait_for_exit(await start("services.scheduler", job, env={}))
    assert code == EXIT_REFUSED
    assert [fault.split()[0] for fault in faults(log)] == [variable]


@pytest.mark.parametrize("module", ["services.ingress", "services.processor", "services.console"])
async def test_an_old_schema_is_refused(
    module: str, environment: dict[str, str], worker: str
) -> None:
    url = await servers.create_database(f"old_{worker}")
    await migrate(url, "base")
    code, log = await wait_for_exit(await start(module, env=environment | {"DATABASE_URL": url}))
    assert code == EXIT_REFUSED
    assert any("run `porteiro migrate`" in fault for fault in faults(log))


@pytest.mark.parametrize("module", ["services.ingress", "services.processor", "services.console"])
async def test_a_missing_topology_is_refused(
    module: str, environment: dict[str, str], worker: str
) -> None:
    name = f"empty_{worker}"
    await servers.create_vhost(name, declare=False)
    url = os.environ[servers.RABBITMQ].replace("%2F", name)
    code, log = await wait_for_exit(await start(module, env=environment | {"RABBITMQ_URL": url}))
    assert code == EXIT_REFUSED
    assert any(fault.endswith("is missing: run `porteiro topology`") for fault in faults(log))


@pytest.mark.parametrize(
    "module",
    ["services.ingress", "services.processor", "services.console", "services.token_health"],
)
async def test_a_service_starts_without_its_servers_and_reports_them_down(module: str) -> None:
    dead_address = f"a:{PASSWORD}@{LOOPBACK}:{free_port()}"
    env = service_environment(
        f"postgresql://{dead_address}/c", f"amqp://{dead_address}/", f"redis://{dead_address}/0"
    )
    process = await start(module, env=env)
    health = f"http://{LOOPBACK}:{env['HEALTH_PORT']}"

    async def readiness_report() -> dict[str, Any] | None:
        try:
            async with aiohttp.request("GET", f"{health}/readyz") as answer:
                assert answer.status == 503
                report: dict[str, Any] = await answer.json()
                return report
        except aiohttp.ClientError:
            return None

    report = await eventually(readiness_report)
    assert set(report["dependencies"].values()) == {"down"}
    assert {"database", "redis"} < set(report["dependencies"])
    assert report["ready"] is False
    async with aiohttp.request("GET", f"{health}/healthz") as answer:
        assert answer.status == 200
    process.send_signal(signal.SIGTERM)
    code, log = await wait_for_exit(process)
    assert code == 0
    down = {line["dependency"] for line in log if line["event"] == "dependency.down"}
    assert down == set(report["dependencies"])
