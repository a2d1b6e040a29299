"""`python -m bench.full_database`: what a webhook costs beside 10,000,000 others.

The processor gets the bundles of the guard on an empty database, and on one that holds WEBHOOKS
webhooks of 35 days: each with its body, a change, a person and, if it has an owner, a published
event. WAL is measured without the images of pages that PostgreSQL writes at each one's first change
after a checkpoint, and with them: a checkpoint before each round, and one in several rounds.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.contestants import ours
from bench.fixed_load import PROCESSOR_WEBHOOKS, Figures, ProcessorLoad
from bench.meter import Meter
from bench.stack import (
    COUNTING,
    ORGANIZATIONS,
    OWNED_EVERY,
    connect_meter,
    give_owners,
    key_sql,
    open_database,
    prepare,
    uuid7_sql,
)
from bench.traffic import WABAS, waba_id
from bench.verdict import Compared, compare
from deploy.local.stack import install
from deploy.local.stack.supervisor import Supervisor
from shared.crypto import id_of_key
from shared.store.intake import partitions
from shared.store.pool import Conn

WEBHOOKS = int(os.environ.get("WEBHOOKS", "10000000"))
DAYS = 35
#: Different people.
PEOPLE = 1_000_000
ROUNDS = 4
#: So many rounds after one checkpoint.
ROUNDS_A_CHECKPOINT = 8
#: Runs on each of the two databases, in turn.
RUNS = 3
#: Webhooks that one statement adds.
PART = 250_000
#: As a server of this size is given, and the same for the empty one.
_MEMORY = {"shared_buffers": "4GB", "effective_cache_size": "12GB"}

_FILL = (
    f"""
    CREATE TEMP TABLE part AS
    SELECT {uuid7_sql("at", "n")} AS id, at, n, ({waba_id(0)} + n % {WABAS})::text AS waba_id,
           CASE WHEN n % {WABAS} % {OWNED_EVERY} = 0
                THEN 'organization-' || n % {WABAS} % {ORGANIZATIONS} END AS organization_id,
           $3::bytea || substring(sha256((n % {PEOPLE})::text::bytea) FOR 16) AS person
    FROM (
        SELECT n, now() - ({WEBHOOKS} - n) * interval '{DAYS} days' / {WEBHOOKS} AS at
        FROM generate_series($1::bigint, $2::bigint) AS n
    ) AS numbered
    """,
    """
    INSERT INTO webhook_log (id, received_at, digest, kind, lane, stored_via, state, processed)
    SELECT id, at, sha256(id::text::bytea), 'whatsapp', 'fast', 'broker', 'split', true FROM part
    """,
    """
    INSERT INTO webhook_bodies (id, received_at, body)
    SELECT id, at, decode(repeat('5a', 400), 'hex') FROM part
    """,
    f"""
    INSERT INTO webhook_changes (id, webhook_id, received_at, key, field, waba_id, organization_id,
                                 state, content)
    SELECT id, id, at, {key_sql("at", "n")}, 'messages', waba_id, organization_id, 'processed',
           CASE WHEN at > now() - interval '8 days' OR organization_id IS NULL
                THEN decode(repeat('5a', 300), 'hex') END
    FROM part
    """,
    """
    INSERT INTO change_people (change_id, hash)
    SELECT id, person FROM part
    """,
    """
    INSERT INTO events (id, created_at, type, organization_id, waba_id, published_at, due_at)
    SELECT id, at, 'change.messages', organization_id, waba_id, at, 'infinity' FROM part
    WHERE organization_id IS NOT NULL AND at > now() - interval '8 days'
    """,
    "DROP TABLE part",
)
_BUFFERS = """
SELECT coalesce(sum(shared_blks_hit + shared_blks_read), 0) FROM pg_stat_statements
WHERE userid <> current_user::regrole
"""


async def _fill(conn: Conn, key_id: bytes) -> None:
    started, today = time.monotonic(), datetime.now(UTC).date()
    await conn.execute("SET synchronous_commit = off")
    await _add_partitions(conn, today)
    for first in range(1, WEBHOOKS + 1, PART):
        for statement in _FILL:
            values = (first, min(first + PART - 1, WEBHOOKS), key_id) if "$1" in statement else ()
            await conn.execute(statement, *values, timeout=3600)
        print(
            f"{min(first + PART - 1, WEBHOOKS):,} stored, {time.monotonic() - started:.0f} s",
            flush=True,
        )
    await conn.execute("VACUUM ANALYZE", timeout=3600)
    await conn.execute("CHECKPOINT", timeout=3600)


async def _add_partitions(conn: Conn, today: date) -> None:
    for ago in range(DAYS + 1, -1, -partitions.DAYS_AHEAD):
        await partitions.add_ahead(conn, today - timedelta(days=ago))
    await partitions.add_ahead(conn, today)


async def _cost(load: ProcessorLoad, meter: Meter, conn: Conn) -> Figures:
    """Return the median of each figure, and the buffers a webhook."""
    await load.round(meter)  # warms up
    before = await conn.fetchval(_BUFFERS)
    rounds = [await load.round(meter) for _ in range(ROUNDS)]
    buffers = await conn.fetchval(_BUFFERS) - before
    figures = {name: statistics.median(figure[name] for figure in rounds) for name in rounds[0]}
    figures["processor: buffers"] = float(buffers) / PROCESSOR_WEBHOOKS / ROUNDS
    rounds = [await load.round(meter, after_checkpoint=not n) for n in range(ROUNDS_A_CHECKPOINT)]
    figures["processor: WAL bytes, rare checkpoints"] = statistics.mean(
        figure["processor: WAL bytes"] for figure in rounds
    )
    for value in ("off", "on"):
        await conn.execute(f"ALTER SYSTEM SET full_page_writes = {value}")
        await conn.execute("SELECT pg_reload_conf()")
        if value == "off":
            figure = await load.round(meter)
            figures["processor: WAL bytes, no page images"] = figure["processor: WAL bytes"]
    return figures


async def _measure(folder: Path) -> list[Compared]:
    pids: dict[str, int] = {}

    def on_pids(running: Mapping[str, int]) -> None:
        pids.clear()
        pids.update(running)

    supervisor = Supervisor(str(folder), folder, on_pids)
    runs: dict[bool, list[Figures]] = {False: [], True: []}
    try:
        env = await prepare(folder, supervisor, COUNTING | _MEMORY)
        await give_owners(env["DATABASE_URL"])
        admin = await open_database(env["DATABASE_URL"])
        await admin.close()
        envs = {False: env, True: env | {"DATABASE_URL": await _full(env)}}
        for _ in range(RUNS):
            for is_full, its in envs.items():
                conn = await connect_meter(its["DATABASE_URL"])
                processor = ours(its).processor
                supervisor.start(processor)
                load = ProcessorLoad(its, conn, kept=is_full)
                runs[is_full].append(await _cost(load, Meter(pids, conn), conn))
                print(runs[is_full][-1], flush=True)
                supervisor.stop_only(processor.name)
                await conn.close()
    finally:
        supervisor.stop()
    return compare(runs[False], runs[True])


async def _full(env: Mapping[str, str]) -> str:
    """Copy the database, and fill the copy. Return its URL."""
    base = env["DATABASE_URL"].rpartition("/")[0]
    admin = await asyncpg.connect(f"{base}/template1")
    await admin.execute("CREATE DATABASE filled TEMPLATE postgres")
    await admin.close()
    conn = await connect_meter(f"{base}/filled")
    await _fill(conn, id_of_key(bytes.fromhex(env["SUBJECT_HASH_KEY"])))
    size = await conn.fetchval("SELECT pg_size_pretty(pg_database_size(current_database()))")
    print(f"{WEBHOOKS:,} webhooks take {size}", flush=True)
    await conn.close()
    return f"{base}/filled"


def main() -> None:
    install.ensure()
    folder = Path(tempfile.mkdtemp(prefix="porteiro-full-"))
    folder.chmod(0o711)
    try:
        compared = uvloop.run(_measure(folder))
    finally:
        rmtree(folder, ignore_errors=True)
    table = Table("a webhook's", "empty", f"beside {WEBHOOKS:,}", "change", "resolution")
    for figure in compared:
        table.add_row(
            figure.name, f"{figure.before:,.3f}", f"{figure.now:,.3f}",
            f"{figure.change:+.1%}", f"{figure.resolution:.1%}",
        )  # fmt: skip
    Console(width=90).print(table)


if __name__ == "__main__":
    main()
