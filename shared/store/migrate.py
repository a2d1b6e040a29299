"""Migrate the schema to a revision, up or down."""

import operator
from functools import partial
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool
from tenacity import Retrying, retry_if_result, stop_after_delay, wait_fixed

#: A migration waits at most this long for a lock of a running service. Then it fails, so that other
#: queries do not queue behind it.
_TIMEOUTS = {"lock_timeout": "4s", "statement_timeout": "10min"}


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config


def newest_revision() -> str:
    revision = ScriptDirectory.from_config(_config()).get_current_head()
    if revision is None:
        raise LookupError("no migrations found")
    return revision


async def migrate(database_url: str, revision: str = "head") -> None:
    """Migrate to `revision`. Idempotent. Only one process migrates at a time, others wait.

    A lower revision migrates down; `base` removes everything.
    """
    url = make_url(database_url).set(drivername="postgresql+asyncpg")
    engine = create_async_engine(
        url, poolclass=NullPool, connect_args={"server_settings": _TIMEOUTS}
    )
    try:
        async with engine.connect() as conn:
            await conn.run_sync(_run, revision)
            await conn.commit()
    finally:
        await engine.dispose()


def _run(conn: Connection, revision: str) -> None:
    config = _config()
    config.attributes["conn"] = conn
    _one_at_a_time(partial(_lock, conn))
    if _is_down(conn, revision):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


#: How long a process waits for another one that migrates.
_one_at_a_time = Retrying(
    retry=retry_if_result(operator.not_), wait=wait_fixed(0.5), stop=stop_after_delay(1800)
)


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
