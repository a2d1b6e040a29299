"""Faults of PostgreSQL: read-only, a row that is slow, a connection that cannot be recomputed."""

import asyncio
import operator
import random

import asyncpg
from tenacity import AsyncRetrying, retry_if_result, wait_fixed

from deploy.local.oracle.bodies import WABAS

#: Table `chaos` says which rows the triggers refuse now. A change is slow if its key ends with
#: the byte `slow`: longer than any time limit of ours.
_INSTALL = """
CREATE TABLE chaos (slow integer, waba_id text);
INSERT INTO chaos DEFAULT VALUES;
CREATE FUNCTION chaos_slow() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF get_byte(NEW.key, length(NEW.key) - 1) = (SELECT slow FROM chaos) THEN
        PERFORM pg_sleep(60);
    END IF;
    RETURN NEW;
END $$;
CREATE FUNCTION chaos_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.waba_id = (SELECT waba_id FROM chaos) THEN
        RAISE EXCEPTION 'refused' USING ERRCODE = 'XX000';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER chaos_slow BEFORE INSERT ON webhook_changes
    FOR EACH ROW EXECUTE FUNCTION chaos_slow();
CREATE TRIGGER chaos_refuse BEFORE UPDATE ON whatsapp_connections
    FOR EACH ROW EXECUTE FUNCTION chaos_refuse();
"""
_READ_ONLY = "ALTER DATABASE porteiro SET default_transaction_read_only = on"
_END_SESSIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
)
_WRITABLE = (
    "SET default_transaction_read_only = off",
    "ALTER DATABASE porteiro RESET default_transaction_read_only",
    _END_SESSIONS,
)


#: A statement that is cut off in the middle raises the last one.
_AWAY = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


class DatabaseFaults:
    """Each fault lasts some seconds, and returns whether it took effect."""

    def __init__(self, url: str, pick: random.Random) -> None:
        self._url = url
        self._pick = pick

    async def install(self) -> None:
        """Make the triggers."""
        await _until_done(self._url, _INSTALL)

    async def fail_over(self, seconds: float) -> bool:
        """Let PostgreSQL be read-only for whoever connects in the next seconds, as after a failover
        to a standby. End the sessions there are."""
        has_begun = await _try_to_run(self._url, _READ_ONLY, _END_SESSIONS)
        await asyncio.sleep(seconds)
        await _until_done(self._url, *_WRITABLE)
        return has_begun

    async def slow_row(self, seconds: float) -> bool:
        """Let one change in 256 last longer than any time limit."""
        return await self._hold("slow", str(self._pick.randrange(256)), seconds)

    async def refused_connection(self, seconds: float) -> bool:
        """Let one connection refuse to be recomputed."""
        return await self._hold("waba_id", f"'{self._pick.choice(WABAS)}'", seconds)

    async def _hold(self, column: str, value: str, seconds: float) -> bool:
        has_begun = await _try_to_run(self._url, f"UPDATE chaos SET {column} = {value}")
        await asyncio.sleep(seconds)
        await _until_done(self._url, f"UPDATE chaos SET {column} = NULL")
        return has_begun


async def _until_done(url: str, *statements: str) -> None:
    until_done = AsyncRetrying(retry=retry_if_result(operator.not_), wait=wait_fixed(0.5))
    await until_done(_try_to_run, url, *statements)


async def _try_to_run(url: str, *statements: str) -> bool:
    """Run the statements. Return False if PostgreSQL is away or read-only."""
    try:
        conn = await asyncpg.connect(url, timeout=2)
        try:
            for statement in statements:
                await conn.execute(statement, timeout=2)
        finally:
            conn.terminate()
    except _AWAY:
        return False
    return True
