"""`python -m bench.fairness`: does one organization that sends too much slow down another?

PostgreSQL is made slow for each webhook, so that the processor has a fixed rate; one organization
sends twice as much, another one little. The time from arrival to rest is that of the quiet one's
webhooks. Run with the lanes on, and off.
"""

import asyncio
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.contestants import ours
from bench.load import send_load
from bench.stack import prepare
from deploy.local.simulated_meta.writing import headers, write
from deploy.local.stack import install
from deploy.local.stack.supervisor import Supervisor
from services.ingress.app import PATH
from shared.actions import ownership
from shared.crypto import KeyRing
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding

SECONDS = 60
#: From this second on the quiet organization must not notice.
SETTLED_SECONDS = 5
QUIET_PER_SECOND = 1  # under the limit of 100 a minute
#: What PostgreSQL takes for each webhook; the processor stores two groups at a time.
MS_A_WEBHOOK = 2
PROCESSED_PER_SECOND = 2 * 1000 // MS_A_WEBHOOK
LOUD_PER_SECOND = 2 * PROCESSED_PER_SECOND
MAX_P99_SECONDS = 1.0
DRAIN_SECONDS = 300
LOUD, QUIET = "100000000001", "100000000002"

SLOW_DOWN = f"""
CREATE TABLE rests (webhook_id uuid, at timestamptz);
CREATE FUNCTION slow_down() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN PERFORM pg_sleep({MS_A_WEBHOOK / 1000}); RETURN NEW; END$$;
CREATE TRIGGER slow_down BEFORE INSERT ON webhook_log FOR EACH ROW EXECUTE FUNCTION slow_down();
CREATE FUNCTION rest() RETURNS trigger LANGUAGE plpgsql AS
    $$BEGIN INSERT INTO rests VALUES (NEW.webhook_id, clock_timestamp()); RETURN NEW; END$$;
CREATE CONSTRAINT TRIGGER rest AFTER INSERT ON webhook_changes DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION rest();
"""
RESTED = """
SELECT extract(epoch FROM at - received_at)::float
FROM rests JOIN webhook_changes USING (webhook_id)
WHERE waba_id = $1 AND received_at > $2 ORDER BY 1
"""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The seconds from arrival to rest of the quiet organization's webhooks, sorted."""

    lanes: str
    seconds: Sequence[float]

    def percentile(self, share: float) -> float:
        return self.seconds[min(len(self.seconds) - 1, int(share * len(self.seconds)))]


def _request(waba_id: str, number: int, secret: str) -> bytes:
    item = {"id": f"wamid.{number}", "status": "read", "timestamp": "1790000000",
            "recipient_id": "15550004444"}  # fmt: skip
    value = {"messaging_product": "whatsapp", "statuses": [item]}
    entry = {"id": waba_id, "changes": [{"field": "messages", "value": value}]}
    body = write({"object": "whatsapp_business_account", "entry": [entry]})
    lines = [f"POST {PATH} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in headers(body, secret).items()]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _own(conn: "asyncpg.Connection[asyncpg.Record]", waba_id: str, ring: KeyRing) -> None:
    async with conn.transaction():
        await organizations.add(conn, waba_id)
        until = datetime.now(UTC) + timedelta(days=1)
        await onboardings.start(conn, ring, NewOnboarding(waba_id, f"code-{waba_id}", until))
        row = await connections.ensure_locked(conn, waba_id)
        onboarding = await onboardings.find(conn, f"code-{waba_id}", organization_id=None)
        await ownership.record_proof(conn, row, onboarding, None, datetime.now(UTC))


async def _measure(lanes: str, port: int, env: dict[str, str]) -> Outcome:
    conn = await asyncpg.connect(env["DATABASE_URL"])
    try:
        ring = KeyRing([bytes.fromhex(env["TOKEN_ENCRYPTION_KEY"])])
        for waba_id in (LOUD, QUIET):
            await _own(conn, waba_id, ring)
        await conn.execute(SLOW_DOWN)
        rate = LOUD_PER_SECOND + QUIET_PER_SECOND
        every = rate // QUIET_PER_SECOND
        requests = [
            _request(LOUD if number % every else QUIET, number, env["META_APP_SECRET"])
            for number in range(SECONDS * rate)
        ]
        settled = datetime.now(UTC) + timedelta(seconds=SETTLED_SECONDS)
        result = await send_load(port, requests, rate=rate)
        if result.refused:
            raise RuntimeError(f"{result.refused} webhooks were refused")
        async with asyncio.timeout(DRAIN_SECONDS):
            stored = "SELECT count(DISTINCT webhook_id) FROM webhook_changes WHERE waba_id = $1"
            while await conn.fetchval(stored, QUIET) < SECONDS * rate // every:
                await asyncio.sleep(1)
        return Outcome(lanes, [row[0] for row in await conn.fetch(RESTED, QUIET, settled)])
    finally:
        await conn.close()


async def _run(folder: Path, lanes: str) -> Outcome:
    supervisor = Supervisor(str(folder), folder, lambda _: None)
    async with AsyncExitStack() as stack:
        stack.callback(supervisor.stop)
        env = await prepare(folder, supervisor)
        if lanes == "off":
            env["LIMIT_PER_ORGANIZATION"] = str(10**9)
        contestant = ours(env)
        supervisor.start(contestant.ingress)
        supervisor.start(contestant.processor)
        return await _measure(lanes, contestant.ingress_port, env)


def _print(outcomes: Sequence[Outcome]) -> None:
    title = (
        f"{LOUD_PER_SECOND:,} webhooks/s of one organization, {PROCESSED_PER_SECOND:,}/s processed:"
        " another's, from arrival to rest"
    )
    table = Table(title=title)
    for column in ("lanes", "webhooks", "p50 s", "p99 s", "max s"):
        table.add_column(column, justify="left" if column == "lanes" else "right")
    for outcome in outcomes:
        times = (f"{outcome.percentile(share):,.2f}" for share in (0.5, 0.99, 1.0))
        table.add_row(outcome.lanes, str(len(outcome.seconds)), *times)
    Console(width=80).print(table)


def main() -> None:
    """Exit 1 if the quiet organization had to wait with the lanes on."""
    install.ensure()
    outcomes = []
    for lanes in ("on", "off"):
        folder = Path(tempfile.mkdtemp(prefix="porteiro-fairness-"))
        folder.chmod(0o711)  # PostgreSQL runs as another user
        try:
            outcomes.append(uvloop.run(_run(folder, lanes)))
        finally:
            rmtree(folder, ignore_errors=True)
    _print(outcomes)
    is_fair = outcomes[0].percentile(0.99) < MAX_P99_SECONDS
    sys.exit(0 if is_fair else "the lanes did not keep the quiet organization's time")


if __name__ == "__main__":
    main()
