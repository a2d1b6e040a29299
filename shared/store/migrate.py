"""Migrate the schema to a revision, up or down."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import NullPool

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
    # Until the handle is closed: one process migrates at a time.
    conn.exec_driver_sql("SELECT pg_advisory_lock(hashtext('porteiro migrate'))")
    conn.commit()
    if _is_down(conn, revision):
        command.downgrade(config, revision)
    else:
        command.upgrade(config, revision)


def _is_down(conn: Connection, revision: str) -> bool:
    if revision == "base":
        return True
    exists = conn.exec_driver_sql("SELECT to_regclass('alembic_version')").scalar()
    current = exists and conn.exec_driver_sql("SELECT * FROM alembic_version").scalar()
    conn.rollback()  # else Alembic finds an open transaction and does not commit its own
    return bool(current and revision != "head" and revision < current)
