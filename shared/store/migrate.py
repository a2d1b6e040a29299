"""Migrate the schema to a revision, up or down."""

import operator
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import structlog
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tenacity import (
    AsyncRetrying,
    Retrying,
    retry_if_exception,
    retry_if_result,
    stop_after_delay,
    wait_fixed,
)

from shared.errors import StartupRefused
from shared.store import pool

log = structlog.get_logger()

#: A migration waits at most this long for a lock of a running service: others queue behind it.
_TIMEOUTS = {"lock_timeout": "500ms", "statement_timeout": "10min"}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def newest_revision() -> str:
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise LookupError("no migrations found")
    return revision


def revisions() -> list[str]:
    """Return every revision there is, the newest first."""
    scripts = ScriptDirectory.from_config(_config()).walk_revisions()
    return [script.revision for script in scripts]


def is_known(revision: str) -> bool:
    return revision in (*revisions(), "head", "base")


async def would_lose_data(database_url: str, revision: str) -> bool:
    """Return whether `revision` is lower than the database's and any of its tables has a row."""
    if revision == "head":
        return False
    conn = await pool.connect(database_url, timeout=pool.CONNECT_SECONDS)
    try:
        current = None
        if await conn.fetchval("SELECT to_regclass('alembic_version')") is not None:
            current = await conn.fetchval("SELECT version_num FROM alembic_version")
        if current is None or (revision != "base" and revision >= current):
            return False
        tables = await conn.fetch(
            """
            SELECT quote_ident(tablename) AS name FROM pg_tables
            WHERE schemaname = current_schema() AND tablename <> 'alembic_version'
            """
        )
        for table in tables:
            if await conn.fetchval(f"SELECT true FROM {table['name']} LIMIT 1"):
                return True
        return False
    finally:
        await conn.close()


async def migrate(database_url: str, revision: str = "head") -> None:
    """Migrate to `revision`. Idempotent. Only one process migrates at a time, others wait.

    A lower revision migrates down; `base` removes everything. A migration that waits too long for a
    lock is run again, so that what queues behind it may go on. Raise what asyncpg raises, or
    StartupRefused if a pooler does not keep our settings.
    """
    engine = create_async_engine(
        "postgresql+asyncpg://",
        poolclass=NullPool,
        # asyncpg reads the URL itself: it knows more options than SQLAlchemy, such as `sslmode`.
        async_creator=partial(
            pool.connect, database_url, timeout=pool.CONNECT_SECONDS, server_settings=_TIMEOUTS
        ),
    )
    try:
        async with engine.connect() as conn:
            await until_lock_is_free()(conn.run_sync, _run, revision)
            await conn.commit()
    except DBAPIError as error:
        raise _cause(error) from None
    finally:
        await engine.dispose()


def _run(conn: Connection, revision: str) -> None:
    config = _config()
    config.attributes |= {"conn": conn, "on_version_apply": [_log_step]}
    conn.rollback()  # of the attempt before
    if conn.exec_driver_sql("SHOW lock_timeout").scalar() != _TIMEOUTS["lock_timeout"]:
        raise StartupRefused([pool.POOLER])
    conn.rollback()
    _one_at_a_time(partial(_lock, conn))
    if _is_down(conn, revision):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


_LOCK_ERRORS = (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError)


def until_lock_is_free() -> AsyncRetrying:
    """Return the policy for migrations: wait 0.5 s for a lock, then leave others 2 s to go on."""
    return AsyncRetrying(
        retry=retry_if_exception(lambda e: isinstance(_cause(e), _LOCK_ERRORS)),
        wait=wait_fixed(2),
        stop=stop_after_delay(600),
        reraise=True,
    )


def _cause(error: BaseException) -> BaseException:
    """Return what asyncpg raised, in SQLAlchemy's two wrappings of it."""
    original = getattr(error, "orig", None)
    return getattr(original, "__cause__", None) or original or error


#: How long a process waits for another one that migrates.
_one_at_a_time = Retrying(
    retry=retry_if_result(operator.not_),
    wait=wait_fixed(0.5),
    stop=stop_after_delay(1800),
    before_sleep=lambda state: _log_wait(state.attempt_number),
)


def _log_wait(attempt: int) -> None:
    if attempt == 1:
        log.info("migrate.waiting", reason="another process migrates this database")


def _log_step(*, step: Any, **_: Any) -> None:
    log.info("migrate.step", revision=step.up_revision_id, kind="up" if step.is_upgrade else "down")


def _lock(conn: Connection) -> bool:
    """Return whether the lock of whoever migrates is ours now, until the handle is closed.

    Not to be waited for in a statement: CREATE INDEX CONCURRENTLY waits for every statement that
    began before it, also for one that waits for its own process.
    """
    is_ours = conn.exec_driver_sql("SELECT pg_try_advisory_lock(hashtext('porteiro migrate'))")
    locked = bool(is_ours.scalar())
    conn.commit()
    return locked


def _is_down(conn: Connection, revision: str) -> bool:
    if revision == "base":
        return True
    exists = conn.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
    current = exists and conn.exec_driver_sql("SELECT * FROM alembic_version").scalar()
    conn.rollback()  # else Alembic finds an open transaction and does not commit its own
    return bool(current and revision != "head" and revision < current)
