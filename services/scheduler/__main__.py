"""The `porteiro` command: jobs and administration, each of which runs once and exits."""

from typing import Annotated

import typer

from services.scheduler.admin import (
    api_keys,
    connections,
    dead_letters,
    events,
    onboardings,
    organizations,
    orphans,
)
from services.scheduler.jobs import migrate, retry_sweep, rotate_keys, topology
from services.scheduler.run_job import run_job

app = typer.Typer(
    help="Run Porteiro's jobs and administer its data.", no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False,
)  # fmt: skip
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(organizations.app, name="organizations")
app.add_typer(onboardings.app, name="onboardings")
app.add_typer(connections.app, name="connections")
app.add_typer(orphans.app, name="orphans")
app.add_typer(api_keys.app, name="api-keys")


@app.command("migrate")
def run_migrate(
    to: Annotated[
        str, typer.Option(help="A revision, `head` (the newest) or `base` (an empty database).")
    ] = "head",
) -> None:
    """Bring the database's schema up (or down) to a revision."""
    run_job("migrate", migrate.migrate_schema(to))


@app.command("topology")
def run_topology() -> None:
    """Declare every exchange and queue on RabbitMQ. Fail if one exists with other arguments."""
    run_job("topology", topology.declare_topology())


@app.command("retry-sweep")
def run_retry_sweep() -> None:
    """Wake the processors if rows are overdue by 5 minutes; fail if none of them reacts."""
    run_job("retry-sweep", retry_sweep.sweep())


@app.command("rotate-keys")
def run_rotate_keys(
    bodies: Annotated[
        bool,
        typer.Option(
            "--bodies", help="Bodies of webhooks, changes and dead letters, not tokens and PINs."
        ),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count.")] = False,
) -> None:
    """Seal tokens and PINs, or bodies, again under the newest key. The services may run meanwhile.

    Safe to stop at any moment and to repeat.
    """
    run_job("rotate-keys", rotate_keys.rotate("bodies" if bodies else "tokens", dry_run=dry_run))


def main() -> None:
    app()


if __name__ == "__main__":
    main()
