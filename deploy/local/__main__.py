"""`make run`, `make demo`, `make up` and `make down`."""

import json
import os
import secrets
import subprocess
import sys
import time
from typing import Any

import typer

from deploy.local.chaos import storm
from deploy.local.chaos.nemesis import Nemesis
from deploy.local.chaos.outage import Outage
from deploy.local.demo.play import tell
from deploy.local.stack import install
from deploy.local.stack.stack import LOCAL, LOGS, SERVER_URLS, STACK_FILE, Stack
from deploy.local.stack.supervisor import MARK, sweep

UP_SECONDS = 120

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up() -> None:
    """Start the stack in the background."""
    _up()
    _show()


@app.command()
def down() -> None:
    """Stop everything of the stack, whoever left it running."""
    ended = _down()
    print(f"stopped {ended} processes" if ended else "nothing was running")


@app.command()
def demo() -> None:
    """Start the stack, tell the demo's story, stop it; exit 0 only if all of it came true."""
    _up()
    try:
        came_true = tell(_facts())
    finally:
        _down()
    sys.exit(0 if came_true else 1)


@app.command()
def chaos(seconds: int = 60, seed: int | None = None) -> None:
    """Start the stack, let a storm blow over it, stop it; exit 0 only if the ledger is sound."""
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    _blow(Nemesis(seconds, seed), seed)


@app.command()
def outage() -> None:
    """The same with no chance in it: a minute without RabbitMQ, then without PostgreSQL too."""
    _blow(Outage(), seed=0)


def _blow(trouble: storm.Trouble, seed: int) -> None:
    _up()
    try:
        is_sound = storm.blow(_facts(), trouble, seed=seed)
    finally:
        _down()
    sys.exit(0 if is_sound else 1)


@app.command()
def run() -> None:
    """Start the stack, tell the demo's story, and stay up until Ctrl-C."""
    _up()
    try:
        tell(_facts())
        _show()
        print("Ctrl-C stops it.")
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("stopping ...")
    finally:
        _down()


@app.command(hidden=True)
def serve() -> None:
    """The supervisor itself; `up` starts it in the background."""
    Stack().run()


def _up() -> None:
    if not all(os.environ.get(name) for name in SERVER_URLS):
        install.ensure()
    _down()
    LOGS.mkdir(parents=True, exist_ok=True)
    print("starting PostgreSQL, Redis, RabbitMQ and the services ...", flush=True)
    log_file = LOGS / "supervisor.log"
    with log_file.open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "deploy.local", "serve"],
            env={**os.environ, MARK: str(LOCAL)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    deadline = time.monotonic() + UP_SECONDS
    while not STACK_FILE.exists():
        if supervisor.poll() is not None or time.monotonic() > deadline:
            _down()
            print(log_file.read_text()[-2000:], file=sys.stderr)
            sys.exit(f"the stack did not come up: see {LOGS}")
        time.sleep(0.1)


def _down() -> int:
    ended = 0
    while found := sweep(
        str(LOCAL)
    ):  # again: a supervisor may start a process as it is told to end
        ended += found
    STACK_FILE.unlink(missing_ok=True)
    return ended


def _facts() -> dict[str, Any]:
    facts: dict[str, Any] = json.loads(STACK_FILE.read_text())
    return facts


def _show() -> None:
    facts = _facts()
    print("up. Everything to reach it by is in .local/stack.json, the logs in .local/logs/.")
    for name in ("ingress", "console", "simulated_meta", "rabbitmq_management"):
        print(f"  {name:<20} {facts[name]}")
    print("By hand: `. .local/porteiro.env`, then `.venv/bin/porteiro`.")


if __name__ == "__main__":
    try:
        app()
    except install.NotInstalled as error:
        sys.exit(str(error))
