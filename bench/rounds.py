"""`python -m bench.rounds`: measure the cost of a webhook in rounds, one for each line of input.

So two versions can take turns on one machine: `bench.guard` runs this with the code of each.
"""

import asyncio
import json
import logging
import sys
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from pathlib import Path
from shutil import rmtree

import structlog
import uvloop

from bench.contestants import ours
from bench.fixed_load import Figures, IngressLoad, ProcessorLoad
from bench.meter import Meter
from bench.stack import COUNTING, give_owners, open_database, prepare
from deploy.local.stack.supervisor import Supervisor

#: Measured rounds of each service. One before them warms up.
ROUNDS = 4
#: Lines of input until all is measured.
TURNS = 2 * (1 + ROUNDS)


async def _measure(folder: Path) -> AsyncGenerator[Figures, None]:
    """Yield no figures when ready and after warming up, else those of a round."""
    pids: dict[str, int] = {}

    def on_pids(running: Mapping[str, int]) -> None:
        pids.clear()
        pids.update(running)

    supervisor = Supervisor(str(folder), folder, on_pids)
    try:
        env = await prepare(folder, supervisor, COUNTING)
        url = env["DATABASE_URL"]
        conn = await open_database(url)
        await give_owners(url)
        services = ours(env)
        yield {}
        for program, fixed_load in (
            (services.ingress, IngressLoad(services.ingress_port, env)),
            (services.processor, ProcessorLoad(env, conn)),
        ):
            supervisor.start(program)
            meter = Meter(pids, conn)
            await fixed_load.round(meter)
            yield {}
            for _ in range(ROUNDS):
                yield await fixed_load.round(meter)
            supervisor.stop_only(program.name)
    finally:
        supervisor.stop()


async def _take_turns(folder: Path) -> None:
    async with aclosing(_measure(folder)) as measured:
        async for figures in measured:
            print(json.dumps(figures), flush=True)
            if not await asyncio.to_thread(sys.stdin.readline):
                break


def main() -> None:
    """Print a line of JSON when ready, and one for each line of input until that ends."""
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    folder = Path(tempfile.mkdtemp(prefix="porteiro-guard-"))
    folder.chmod(0o711)
    try:
        uvloop.run(_take_turns(folder))
    finally:
        rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
