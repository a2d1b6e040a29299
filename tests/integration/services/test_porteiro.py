"""The `porteiro` command's administration of organizations and onboardings."""

import asyncio
import os
import sys

from shared.lifecycle import EXIT_REFUSED
from shared.store.pool import Connection

WABA = "210000000000010"


async def porteiro(*arguments: str, **env: str) -> tuple[int | None, str]:
    """Its exit code and its log."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", *arguments,
        env=os.environ | {"PYTHONWARNINGS": "ignore"} | env,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode, output.decode()


async def test_an_onboarding_is_opened_and_proven_by_hand(
    environment: dict[str, str], conn: Connection
) -> None:
    assert (await porteiro("organizations", "add", "ana", "--business", "55"))[0] == 0
    code, log = await porteiro("onboardings", "start", "ana", "--code", "test-123")
    assert code == 0
    assert '"tracking_code":"test-123"' in log
    assert (await porteiro("onboardings", "prove", "test-123", WABA, "--business", "66"))[0] == 0

    owner = await conn.fetchrow("SELECT organization_id, attribution FROM whatsapp_connections")
    assert owner is not None
    assert tuple(owner) == ("ana", "tracking_code")
    businesses = await conn.fetch("SELECT business_id FROM organization_businesses ORDER BY 1")
    assert [record["business_id"] for record in businesses] == ["55", "66"]


async def test_what_cannot_be_done_is_refused_by_name(
    environment: dict[str, str], conn: Connection
) -> None:
    for arguments, fault in (
        (("organizations", "add", "an organization"), "ORGANIZATION_ID must match"),
        (("organizations", "add", "ana", "--business", "x"), "--business must be 1 to 20 digits"),
        (("onboardings", "prove", "nobody's", WABA), "CODE is no onboarding"),
        (("onboardings", "prove", "test-123", "x"), "WABA_ID must be 1 to 20 digits"),
    ):
        code, log = await porteiro(*arguments)
        assert (code, fault in log) == (EXIT_REFUSED, True), log
    assert await conn.fetchval("SELECT count(*) FROM organization_businesses") == 0


async def test_a_tracking_code_is_given_once(environment: dict[str, str], conn: Connection) -> None:
    assert (await porteiro("onboardings", "start", "ana", "--code", "test-123"))[0] == 0
    code, log = await porteiro("onboardings", "start", "bia", "--code", "test-123")
    assert (code, "--code is taken" in log) == (EXIT_REFUSED, True)


async def test_only_a_local_stack_takes_a_proof_by_hand(
    environment: dict[str, str], conn: Connection
) -> None:
    code, log = await porteiro("onboardings", "prove", "test-123", WABA, ENVIRONMENT="staging")
    assert (code, "only where ENVIRONMENT is local" in log) == (EXIT_REFUSED, True)
