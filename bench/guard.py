"""`make bench-guard`: has a change made a webhook dearer? What noise cannot fool is compared.

Throughput of the same code differs by half from run to run on a shared machine. Counts do not: WAL
bytes, statements and broker messages a webhook. CPU time a webhook differs little, once it is
divided by what a fixed piece of work costs in the same seconds.
"""

import statistics
import sys
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from shutil import rmtree

import asyncpg
import uvloop
from rich.console import Console
from rich.table import Table

from bench.contestants import ours
from bench.fixed_load import Figures, IngressLoad, ProcessorLoad
from bench.meter import Meter
from bench.stack import prepare
from bench.traffic import WABAS, waba_id
from bench.verdict import Compared, compare, load, save, summarize
from deploy.local.stack import install
from deploy.local.stack.supervisor import Supervisor
from shared.actions import connection_state
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn

ROUNDS = 8
#: Runs of the same code that are recorded.
RUNS = 5
#: Every second WABA of the load is owned, so that half of what comes is told to somebody.
OWNED_EVERY = 2
ORGANIZATIONS = 100
_POSTGRESQL = {
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum": "off",  # it comes when it likes
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
}
_METER = "meter"


async def _measure(folder: Path) -> Figures:
    """One run: each figure is the median of its rounds."""
    pids: dict[str, int] = {}

    def note(running: Mapping[str, int]) -> None:
        pids.clear()
        pids.update(running)

    supervisor = Supervisor(str(folder), folder, note)
    try:
        env = await prepare(folder, supervisor, _POSTGRESQL)
        url = env["DATABASE_URL"]
        database = await _open_database(url)
        await _give_owners(url)
        services = ours(env)
        figures: Figures = {}
        for program, fixed_load in (
            (services.ingress, IngressLoad(services.ingress_port, env)),
            (services.processor, ProcessorLoad(env, database)),
        ):
            supervisor.start(program)
            meter = Meter(pids, database)
            await fixed_load.round(meter)  # warms up
            rounds = [await fixed_load.round(meter) for _ in range(ROUNDS)]
            figures |= {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            supervisor.stop_only(program.name)
        await database.close()
        return figures
    finally:
        supervisor.stop()


async def _open_database(url: str) -> Conn:
    """As a user of its own, whose statements do not count."""
    admin = await asyncpg.connect(url)
    await admin.execute("CREATE EXTENSION pg_stat_statements")
    await admin.execute(f"CREATE ROLE {_METER} SUPERUSER LOGIN PASSWORD '{_METER}'")
    await admin.close()
    return await asyncpg.connect(url, user=_METER, password=_METER)


async def _give_owners(url: str) -> None:
    """By proofs, as onboardings would."""
    conn = await asyncpg.connect(url)
    now = datetime.now(UTC)
    async with conn.transaction():
        for number in range(0, WABAS, OWNED_EVERY):
            organization_id = f"organization-{number % ORGANIZATIONS}"
            await organizations.add(conn, organization_id)
            start = NewOnboarding(organization_id, f"bench-{number}", now + timedelta(days=1))
            await onboardings.start(conn, start)
            await connection_state.record_proof(
                conn, start.tracking_code, waba_id(number), None, now
            )
    await conn.close()


def _run_once() -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="porteiro-guard-"))
    folder.chmod(0o711)
    try:
        return uvloop.run(_measure(folder))
    finally:
        rmtree(folder, ignore_errors=True)


def _print(compared: list[Compared]) -> None:
    table = Table(title="A webhook's price, beside bench/guard.json")
    for column in ("", "recorded", "now", "change", "resolution", "verdict"):
        table.add_column(column, justify="right" if column else "left")
    for one in compared:
        verdict = "DEARER" if one.is_dearer else "cheaper" if one.is_cheaper else "the same"
        table.add_row(
            one.name, f"{one.recorded.value:,.3f}", f"{one.now:,.3f}", f"{one.change:+.1%}",
            f"{one.recorded.resolution:.1%}", verdict,
        )  # fmt: skip
    Console(width=80).print(table)


def main() -> None:
    """Exits 1 where a figure is dearer; `--record` measures anew what others are compared with."""
    install.ensure()
    if "--record" in sys.argv:
        save(summarize([_run_once() for _ in range(RUNS)]), runs=RUNS)
        return
    compared = compare(load(), _run_once())
    _print(compared)
    if any(one.is_dearer for one in compared):
        sys.exit("bench-guard: DEARER than recorded; bench/guard.json changes only for a reason")


if __name__ == "__main__":
    main()
