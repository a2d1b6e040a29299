"""`make bench-guard`: check that a change has not made a webhook more expensive.

The guard compares only figures with little noise. On a shared machine, the throughput of the same
code differs by half from run to run. Counts per webhook do not: WAL bytes, statements and broker
messages. CPU time per webhook differs little when it is divided by the CPU time of a fixed piece of
work in the same seconds.
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
from shared.actions import ownership
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn

ROUNDS = 8
#: Runs of the same code for a new record.
RUNS = 5
#: Every second WABA of the load has an owner, so that half of the webhooks lead to events.
OWNED_EVERY = 2
ORGANIZATIONS = 100
_POSTGRESQL = {
    "shared_preload_libraries": "pg_stat_statements",
    "autovacuum": "off",  # it runs at unpredictable times
    "checkpoint_timeout": "1h",
    "max_wal_size": "8GB",
}
_METER = "meter"


async def _measure(folder: Path) -> Figures:
    """Do one run. Each figure is the median of its rounds."""
    pids: dict[str, int] = {}

    def on_pids(running: Mapping[str, int]) -> None:
        pids.clear()
        pids.update(running)

    supervisor = Supervisor(str(folder), folder, on_pids)
    try:
        env = await prepare(folder, supervisor, _POSTGRESQL)
        url = env["DATABASE_URL"]
        conn = await _open_database(url)
        await _give_owners(url)
        services = ours(env)
        figures: Figures = {}
        for program, fixed_load in (
            (services.ingress, IngressLoad(services.ingress_port, env)),
            (services.processor, ProcessorLoad(env, conn)),
        ):
            supervisor.start(program)
            meter = Meter(pids, conn)
            await fixed_load.round(meter)  # warms up
            rounds = [await fixed_load.round(meter) for _ in range(ROUNDS)]
            figures |= {
                name: statistics.median(figure[name] for figure in rounds) for name in rounds[0]
            }
            supervisor.stop_only(program.name)
        await conn.close()
        return figures
    finally:
        supervisor.stop()


async def _open_database(url: str) -> Conn:
    """Connect as a separate user, whose statements are not counted."""
    admin = await asyncpg.connect(url)
    await admin.execute("CREATE EXTENSION pg_stat_statements")
    await admin.execute(f"CREATE ROLE {_METER} SUPERUSER LOGIN PASSWORD '{_METER}'")
    await admin.close()
    return await asyncpg.connect(url, user=_METER, password=_METER)


async def _give_owners(url: str) -> None:
    """Give owners to WABAs by proofs, as onboardings do."""
    conn = await asyncpg.connect(url)
    now = datetime.now(UTC)
    async with conn.transaction():
        for number in range(0, WABAS, OWNED_EVERY):
            organization_id = f"organization-{number % ORGANIZATIONS}"
            await organizations.add(conn, organization_id)
            onboarding = NewOnboarding(organization_id, f"bench-{number}", now + timedelta(days=1))
            await onboardings.start(conn, onboarding)
            row = await connections.ensure_locked(conn, waba_id(number))
            await ownership.record_proof(conn, row, onboarding.tracking_code, None, now)
        # What follows from the proofs is not part of the load.
        await conn.execute("UPDATE follow_ups SET state = 'done', ended_at = now()")
    await conn.close()


def _run_once() -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="porteiro-guard-"))
    folder.chmod(0o711)
    try:
        return uvloop.run(_measure(folder))
    finally:
        rmtree(folder, ignore_errors=True)


def _print(compared: list[Compared]) -> None:
    table = Table(title="Cost per webhook, compared with bench/guard.json")
    for column in ("", "recorded", "now", "change", "resolution", "verdict"):
        table.add_column(column, justify="right" if column else "left")
    for figure in compared:
        verdict = (
            "MORE EXPENSIVE" if figure.is_dearer else "cheaper" if figure.is_cheaper else "the same"
        )
        table.add_row(
            figure.name, f"{figure.recorded.value:,.3f}", f"{figure.now:,.3f}",
            f"{figure.change:+.1%}", f"{figure.recorded.resolution:.1%}", verdict,
        )  # fmt: skip
    Console(width=80).print(table)


def main() -> None:
    """Compare with the record. Exit 1 if a figure is more expensive.

    With `--record`, measure and write a new record instead.
    """
    if sys.argv[1:] not in ([], ["--record"]):
        sys.exit("usage: python -m bench.guard [--record]")
    install.ensure()
    if sys.argv[1:]:
        save(summarize([_run_once() for _ in range(RUNS)]), runs=RUNS)
        return
    compared = compare(load(), _run_once())
    _print(compared)
    if any(figure.is_dearer for figure in compared):
        sys.exit(
            "bench-guard: MORE EXPENSIVE than recorded."
            " Change bench/guard.json only if there is a reason."
        )


if __name__ == "__main__":
    main()
