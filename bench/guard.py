"""`make bench-guard`: check that a change has not made a webhook more expensive.

This version and an earlier one are measured in turn, on the same machine: between machines, and
between hours of one, the same code differs by more than a change may cost. The figures are those
with little noise: WAL bytes, statements and broker messages per webhook, and CPU time per webhook,
divided by the CPU time of a fixed piece of work in the same seconds. Throughput differs by half
from run to run.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from shutil import rmtree

import uvloop
from rich.console import Console
from rich.table import Table

from bench.contestants import ours
from bench.fixed_load import Figures, IngressLoad, ProcessorLoad
from bench.meter import Meter
from bench.stack import COUNTING, give_owners, open_database, prepare
from bench.verdict import Compared, compare, summarize
from deploy.local.chaos.worktree import Version, checked_out
from deploy.local.stack import install
from deploy.local.stack.supervisor import Supervisor

#: The version whose cost per webhook is accepted. Move it only in a commit that says what was
#: bought, and for how much.
BASE = "fc71b00"
#: Runs of each version, in turn with those of the other.
RUNS = 3
ROUNDS = 8
FIGURES = "--figures"


async def _measure(folder: Path) -> Figures:
    """Do one run. Each figure is the median of its rounds."""
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


def _run_once() -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="porteiro-guard-"))
    folder.chmod(0o711)
    try:
        return uvloop.run(_measure(folder))
    finally:
        rmtree(folder, ignore_errors=True)


def _run_version(version: Version) -> Figures:
    """Do one run with the code, the environment and the loads of the version."""
    # Without PYTHONSAFEPATH, `-m` would find the code of the folder we are in first.
    paths = {"PYTHONPATH": str(version.folder), "PYTHONSAFEPATH": "1"}
    run = subprocess.run(
        [version.python, "-m", "bench.guard", FIGURES],
        cwd=version.folder, env={**os.environ, **paths}, stdout=subprocess.PIPE, check=True,
    )  # fmt: skip
    figures: Figures = json.loads(run.stdout.splitlines()[-1])  # after the log
    return figures


def _compare_with(ref: str) -> list[Compared]:
    here = Version("this", Path.cwd(), sys.executable)
    before, now = [], []
    with checked_out(ref, "requirements/dev.txt") as base:
        for number in range(1, RUNS + 1):
            before.append(_run_version(base))
            now.append(_run_version(here))
            print(f"run {number} of {RUNS} of each version is done", file=sys.stderr)
    return compare(summarize(before), summarize(now))


def _print(ref: str, compared: list[Compared]) -> None:
    table = Table(title=f"Cost per webhook, compared with {ref}")
    for column in ("", "before", "now", "change", "resolution", "verdict"):
        table.add_column(column, justify="right" if column else "left")
    for figure in compared:
        table.add_row(
            figure.name, f"{figure.before.value:,.3f}", f"{figure.now.value:,.3f}",
            f"{figure.change:+.1%}", f"{figure.resolution:.1%}", figure.verdict,
        )  # fmt: skip
    Console(width=80).print(table)


def main() -> None:
    """Compare with a version, BASE unless one is named. Exit 1 unless nothing is dearer.

    With `--figures`, do one run of this version and print its figures as JSON.
    """
    arguments = sys.argv[1:]
    if len(arguments) > 1:
        sys.exit(f"usage: python -m bench.guard [COMMIT | {FIGURES}]")
    install.ensure()
    if arguments == [FIGURES]:
        print(json.dumps(_run_once()))
        return
    ref = arguments[0] if arguments else BASE
    compared = _compare_with(ref)
    _print(ref, compared)
    verdicts = {figure.verdict for figure in compared}
    if "MORE EXPENSIVE" in verdicts:
        sys.exit(f"bench-guard: MORE EXPENSIVE than {ref}. Move BASE only if there is a reason.")
    if "CANNOT TELL" in verdicts:
        sys.exit("bench-guard: CANNOT TELL, equal runs differ too much. Try on a quiet machine.")


if __name__ == "__main__":
    main()
