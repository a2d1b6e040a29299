"""The job token-health sees to it that every connection is checked, and says truly if none is."""

import json
from datetime import timedelta

import pytest
from pytest import MonkeyPatch

from services.scheduler.jobs import token_health
from services.scheduler.jobs.token_health import check_tokens
from services.scheduler.run_job import JobFailed
from shared.messages import decode_check_nudge
from shared.store.connections import connections, eras, organizations
from shared.store.pool import Conn
from tests.support.aged import OWNER, ago
from tests.support.broker import Broker
from tests.support.keys import TOKEN_RING
from tests.support.tokens import save_token


async def connect(conn: Conn, *waba_ids: str) -> None:
    """Connections with a token whose check is due in a day."""
    await organizations.add(conn, OWNER)
    await connections.ensure(conn, waba_ids)
    for waba_id in waba_ids:
        async with conn.transaction():
            await eras.begin(conn, waba_id, OWNER, "tracking_code", ago(99))
        await save_token(conn, TOKEN_RING, waba_id, "EAA")


async def test_connections_without_a_due_time_get_one_within_a_day(
    environment: dict[str, str], conn: Conn
) -> None:
    await connect(conn, "71", "72")
    await connections.ensure(conn, ["73"])  # it has no token
    await conn.execute("UPDATE whatsapp_connections SET next_check_at = NULL")
    await check_tokens()
    counts = json.loads(await conn.fetchval("SELECT counts FROM job_runs"))
    assert counts["given a due time"] == 2
    due = await conn.fetch(
        "SELECT waba_id FROM whatsapp_connections"
        " WHERE next_check_at BETWEEN now() AND now() + interval '1 day' ORDER BY 1"
    )
    assert [row["waba_id"] for row in due] == ["71", "72"]


async def test_what_is_overdue_is_nudged_and_it_fails_if_nobody_works(
    environment: dict[str, str], conn: Conn, broker: Broker, monkeypatch: MonkeyPatch
) -> None:
    await connect(conn, "71", "72")
    await conn.execute(
        "UPDATE whatsapp_connections SET next_check_at = now() - interval '61 minutes'"
        " WHERE waba_id = '71'"
    )
    monkeypatch.setattr(token_health, "WAIT_SECONDS", 0.0)
    with pytest.raises(JobFailed, match=r"^1 checks .* nobody works"):
        await check_tokens()
    assert decode_check_nudge(await broker.take("tokens.checks")) == "71"
    assert await broker.count("tokens.checks") == 0


async def test_it_fails_if_meta_gave_no_answer_for_48_hours(
    environment: dict[str, str], conn: Conn
) -> None:
    await connect(conn, "71")
    for age, fails in ((timedelta(hours=47), False), (timedelta(hours=49), True)):
        await conn.execute(
            "UPDATE whatsapp_connections SET token_checked_at = now() - $1::interval,"
            " token_at = now() - interval '9 days'",
            age,
        )
        if fails:
            with pytest.raises(JobFailed, match="no answer about 1 connections for 48 hours"):
                await check_tokens()
        else:
            await check_tokens()


async def test_tokens_are_counted_by_state_and_age_of_their_check(
    environment: dict[str, str], conn: Conn
) -> None:
    checked = {"71": 0.5, "72": 0.5, "73": 3, "74": 8, "75": None, "76": 0.5}
    async with conn.transaction():
        await connections.ensure(conn, [*checked, "79"])
        for waba, days in checked.items():
            await save_token(conn, TOKEN_RING, waba, "EAA")
            await conn.execute(
                "UPDATE whatsapp_connections SET token_checked_at = $2 WHERE waba_id = $1",
                waba,
                None if days is None else ago(days),
            )
        await conn.execute(
            "UPDATE whatsapp_connections SET token_expires_at = now() WHERE waba_id = '76'"
        )
        await conn.execute(
            "UPDATE whatsapp_connections SET token_state = 'revoked' WHERE waba_id = '74'"
        )
        await conn.execute("UPDATE whatsapp_connections SET next_check_at = now()")
    await check_tokens()
    assert json.loads(await conn.fetchval("SELECT counts FROM job_runs")) == {
        "given a due time": 0,
        "overdue": 0,
        "expired, checked within a day": 1,
        "revoked, checked longer ago": 1,
        "valid, checked within a day": 2,
        "valid, checked within 7 days": 1,
        "valid, never checked": 1,
    }
