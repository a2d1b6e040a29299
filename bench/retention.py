"""`python -m bench.retention`: 1,000,000 webhooks of 40 days meet their retention.

The jobs `partitions` and `retention` run, twice each, while 500 webhooks a second are written. Each
step: how long it took, and how long writes and others waited for locks. At the end what is left of
each webhook, change, content, person, event, letter and body is compared with what was stored.
"""

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from functools import partial

from rich.console import Console
from rich.table import Table

from bench.migrations import connected, measure, run_on_postgresql
from bench.stack import key_sql, uuid7_sql
from shared.store.migrate import migrate
from shared.store.pool import Conn

WEBHOOKS = int(os.environ.get("WEBHOOKS", "1000000"))
DAYS = 40
STEPS = ("partitions", "retention", "retention again", "partitions again")

#: Of a thousand webhooks, 20 are of an orphan, one is unsplit, one is dead, and one
#: has an event that was never published. The others were delivered when they came.
_FILL = f"""
INSERT INTO organizations (id) VALUES ('bakery');
CREATE TABLE filled AS
    SELECT {uuid7_sql("at", "n")} AS id, n % 1000 AS kind, at
    FROM (
        SELECT n, now() - n * interval '{DAYS} days' / {WEBHOOKS} AS at
        FROM generate_series(1, {WEBHOOKS}) AS n
    ) AS numbered;
INSERT INTO webhook_log
        (id, received_at, digest, kind, lane, stored_via, state, processed, changes_left)
    SELECT id, at, sha256(id::text::bytea), 'whatsapp', 'fast', 'broker',
           CASE WHEN kind = 1 THEN 'unsplit' ELSE 'split' END::webhook_state,
           kind NOT IN (1, 2), (kind = 2)::int
    FROM filled;
INSERT INTO webhook_bodies (id, received_at, body)
    SELECT id, at, decode(repeat('5a', 300), 'hex') FROM filled;
INSERT INTO webhook_changes
        (id, webhook_id, received_at, key, waba_id, organization_id, state, content)
    SELECT id, id, at, {key_sql("at", "id")}, (kind % 100)::text,
           CASE WHEN kind BETWEEN 10 AND 29 THEN NULL ELSE 'bakery' END,
           CASE WHEN kind = 2 THEN 'dead' ELSE 'processed' END::change_state,
           decode(repeat('5a', 200), 'hex')
    FROM filled WHERE kind <> 1;
INSERT INTO change_people (change_id, hash)
    SELECT id, substring(sha256(id::text::bytea) FOR 20) FROM filled WHERE kind <> 1;
INSERT INTO dead_letters (id, kind, subject_id, webhook_id, blame, error, fingerprint, attempts,
                          first_failed_at, died_at)
    SELECT id, 'change', id, id, 'ours', 'e', 'f', 4, at, at FROM filled WHERE kind = 2;
INSERT INTO events (id, created_at, type, organization_id, waba_id, published_at, due_at)
    SELECT id, at, 'change.messages', 'bakery', (kind % 100)::text,
           CASE WHEN kind <> 3 THEN at END, 'infinity'
    FROM filled WHERE kind NOT BETWEEN 10 AND 29 AND kind NOT IN (1, 2);
ANALYZE"""

#: What is wrong with what is left of what was stored. A webhook `stays` if it is not old or not
#: settled; `is_over` says that it was delivered and can be replayed no more.
_LEDGER = """
SELECT count(*) FILTER (WHERE stays AND log.id IS NULL) AS webhooks_lost,
       count(*) FILTER (WHERE NOT stays AND log.id IS NOT NULL) AS webhooks_left,
       count(*) FILTER (WHERE stays AND stored.kind <> 1 AND change.id IS NULL) AS changes_lost,
       count(*) FILTER (WHERE NOT stays AND change.id IS NOT NULL) AS changes_left,
       count(*) FILTER (WHERE stays AND stored.kind <> 1 AND NOT is_over AND change.content IS NULL)
           AS contents_lost,
       count(*) FILTER (WHERE is_over AND change.content IS NOT NULL) AS contents_left,
       count(*) FILTER (WHERE stays AND stored.kind <> 1 AND change_people.hash IS NULL)
           AS people_lost,
       count(*) FILTER (WHERE NOT stays AND change_people.hash IS NOT NULL) AS people_left,
       count(*) FILTER (WHERE is_told AND NOT is_over AND event.id IS NULL) AS events_lost,
       count(*) FILTER (WHERE is_over AND event.id IS NOT NULL) AS events_left,
       count(*) FILTER (WHERE stored.kind = 2 AND stored.at > $1 - interval '30 days'
           AND (letter.id IS NULL OR letter.closed_at IS NOT NULL)) AS letters_lost,
       count(*) FILTER (WHERE stored.kind = 2 AND stored.at < $1 - interval '30 days'
           AND letter.outcome IS DISTINCT FROM 'discarded') AS letters_left,
       count(*) FILTER (WHERE NOT log.processed AND bodies.body IS NULL) AS bodies_lost
FROM (
    SELECT *, is_told AND kind <> 3 AND at < $1 - interval '8 days' AS is_over
    FROM (
        SELECT *, at > $1::timestamptz - interval '35 days' OR kind IN (1, 3)
                OR kind BETWEEN 10 AND 29 AS stays,
            kind NOT IN (1, 2) AND kind NOT BETWEEN 10 AND 29 AS is_told
        FROM filled
    ) AS judged
    -- What came of age since the last run, and around it, is not judged.
    WHERE NOT EXISTS (
        SELECT FROM unnest(ARRAY[8, 30, 35]) AS days
        WHERE abs(extract(epoch FROM $1 - days * interval '1 day' - at)) < 3600
    )
) AS stored
LEFT JOIN webhook_log AS log USING (id) LEFT JOIN webhook_changes AS change USING (id)
LEFT JOIN change_people ON change_id = change.id LEFT JOIN events AS event USING (id)
LEFT JOIN dead_letters AS letter USING (id) LEFT JOIN LATERAL (
    SELECT body FROM webhook_bodies WHERE webhook_bodies.id = log.id
    UNION ALL SELECT body FROM unsettled_bodies WHERE unsettled_bodies.id = log.id LIMIT 1
) AS bodies ON NOT log.processed
"""


async def _run_job(url: str, step: str) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "services.scheduler", step.partition(" ")[0],
        env=os.environ | {"ENVIRONMENT": "local", "DATABASE_URL": url},
        stdout=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    if await process.wait():
        raise RuntimeError(f"{step} failed")


async def _counts(conn: Conn) -> Mapping[str, int]:
    counts: Mapping[str, int] = json.loads(
        await conn.fetchval("SELECT counts FROM job_runs ORDER BY started_at DESC LIMIT 1")
    )
    return {name: count for name, count in counts.items() if count}


async def _bench(console: Console, url: str) -> bool:
    await migrate(url)
    table = Table("step", "took", "waited", "slowest write", "writes", "counts")
    is_sound = True
    async with connected(url, "ledger") as conn:
        for statement in _FILL.split(";\n"):
            await conn.execute(statement, timeout=600)
        for name in STEPS:
            step = await measure(url, name, partial(_run_job, url, name), has_reader=False)
            is_sound = is_sound and step.is_sound
            counts = await _counts(conn)
            table.add_row(
                name,
                f"{step.took:.1f} s",
                f"{step.waited * 1000:.0f} ms",
                f"{step.slowest_write * 1000:.0f} ms",
                f"{step.writes:,}",
                " ".join(f"{kind} {count:,}" for kind, count in counts.items()),
            )
        console.print(table)
        ledger = await conn.fetchrow(_LEDGER, await conn.fetchval("SELECT now()"), timeout=600)
    console.print(dict(ledger or {}))
    return is_sound and ledger is not None and not any(ledger.values())


if __name__ == "__main__":
    run_on_postgresql(_bench)
