"""The `porteiro` command: jobs and administration, each of which runs once and exits."""

import sys
from importlib.metadata import version
from typing import Annotated

import typer
from typer.exceptions import TyperException

from services.scheduler.admin import (
    api_keys,
    audit,
    backups,
    connections,
    dead_letters,
    events,
    jobs,
    onboardings,
    organizations,
    orphans,
    webhooks,
)
from services.scheduler.admin import (
    people as people_commands,
)
from services.scheduler.admin.options import (
    NO_REASON,
    OnBehalfOption,
    ReasonOption,
    requester,
)
from services.scheduler.admin.tables import JsonOption
from services.scheduler.answers import answer_fault
from services.scheduler.jobs import (
    backup,
    cleanup,
    partitions,
    restore_drill,
    retention,
    retry_sweep,
    rotate_keys,
    token_health,
    topology,
)
from services.scheduler.run_job import run_job
from shared.process import telemetry
from shared.process.lifecycle import run
from shared.store.rotation import SealedData

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only count.")]

app = typer.Typer(
    help="Run Porteiro's jobs and administer its data.",
    epilog="Exit codes: 0 done; 1 failed, the same command may succeed later; 2 not understood;"
    " 78 refused, something that was typed or set must be corrected first.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(dead_letters.app, name="dead-letters")
app.add_typer(events.app, name="events")
app.add_typer(organizations.app, name="organizations")
app.add_typer(onboardings.app, name="onboardings")
app.add_typer(connections.app, name="connections")
app.add_typer(orphans.app, name="orphans")
app.add_typer(people_commands.app, name="people")
app.add_typer(api_keys.app, name="api-keys")
app.add_typer(audit.app, name="audit")
app.add_typer(backups.app, name="backups")


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        sys.stdout.write(f"porteiro {version('porteiro')}\n")
        raise typer.Exit


@app.callback()
def options(
    _: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version, and exit."
        ),
    ] = False,
) -> None:
    """Run Porteiro's jobs and administer its data."""


@app.command("migrate")
def run_migrate(
    to: Annotated[
        str,
        typer.Option(
            help="A revision; `head` is the newest; `base` removes every table, with all data."
        ),
    ] = "head",
    yes: Annotated[
        bool, typer.Option("--yes", help="Go to a lower revision although there are data to lose.")
    ] = False,
) -> None:
    """Bring the database's schema up (or down) to a revision."""
    # Alembic would cost every other command a quarter of its start.
    from services.scheduler.jobs.migrate import migrate_schema  # noqa: PLC0415

    run_job("migrate", migrate_schema(to, may_lose_data=yes))


@app.command("topology")
def run_topology() -> None:
    """Declare every exchange and queue on RabbitMQ. Fail if one exists with other arguments."""
    run_job("topology", topology.declare_topology(), server_setting="RABBITMQ_URL")


@app.command("retry-sweep")
def run_retry_sweep() -> None:
    """Wake the processors if rows are overdue by 5 minutes.

    It fails if none of them reacts.
    """
    run_job("retry-sweep", retry_sweep.sweep())


@app.command("retention")
def run_retention(dry_run: DryRunOption = False) -> None:
    """Delete what is older than promised, in small batches. Nothing unsettled is deleted."""
    run_job("retention", retention.retain(dry_run=dry_run))


@app.command("cleanup")
def run_cleanup(dry_run: DryRunOption = False) -> None:
    """Mark expired onboardings, and delete useless records."""
    run_job("cleanup", cleanup.clean_up(dry_run=dry_run))


@app.command("token-health")
def run_token_health() -> None:
    """Have every connection checked daily; count tokens by state."""
    run_job("token-health", token_health.check_tokens())


@app.command("partitions")
def run_partitions(dry_run: DryRunOption = False) -> None:
    """Add the partitions of the coming days, drop past ones."""
    run_job("partitions", partitions.maintain(dry_run=dry_run))


@app.command("backup")
def run_backup() -> None:
    """Back up the database, encrypted, to BACKUP_STORE."""
    run_job("backup", backup.back_up())


@app.command("restore-drill")
def run_restore_drill() -> None:
    """Prove the newest backup.

    Restore it into a scratch database: is all of it there, and do the keys open it?
    """
    run_job("restore-drill", restore_drill.drill())


@app.command("jobs")
def list_jobs(as_json: JsonOption = False) -> None:
    """List the scheduled jobs.

    When each last succeeded, when it runs next, and which are overdue.
    """
    run_job("jobs", jobs.list_jobs(as_json=as_json))


@app.command("serve-schedule")
def run_serve_schedule() -> None:
    """Start the scheduled jobs at their times.

    Until SIGTERM, where there is no Kubernetes.
    """
    # Its HTTP server would cost every other command half of its start.
    from services.scheduler.serve_schedule import serve  # noqa: PLC0415

    run("schedule", serve)


@app.command("rotate-keys")
def run_rotate_keys(
    bodies: Annotated[
        bool,
        typer.Option(
            "--bodies", help="Bodies of webhooks, changes and dead letters, not tokens and PINs."
        ),
    ] = False,
    people: Annotated[
        bool,
        typer.Option(
            "--people", help="Only count hashes of people by key. They go with their changes."
        ),
    ] = False,
    dry_run: DryRunOption = False,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Seal stored secrets again under the newest key.

    Tokens and PINs, or bodies. The services may run meanwhile. Safe to stop at any
    moment and to repeat.
    """
    if people:
        run_job("rotate-keys", rotate_keys.count_people())
        return
    data: SealedData = "bodies" if bodies else "tokens"
    asked = requester(reason, on_behalf_of)
    run_job("rotate-keys", rotate_keys.rotate(data, asked, dry_run=dry_run))


def main() -> None:
    try:
        sys.exit(app(prog_name="porteiro", standalone_mode=False))
    except TyperException as error:
        text = error.format_message()
        if text.startswith("Usage:"):  # no command was given: the text is the help
            sys.stderr.write(text + "\n")
        else:
            telemetry.configure("porteiro")
            context = getattr(error, "ctx", None)
            command = context.command_path if context else "porteiro"
            sentence = text.rstrip(".")
            end = "" if sentence.endswith("?") else "."  # after "Did you mean ...?"
            answer_fault("usage.wrong", f"{sentence}{end} See `{command} --help`.")
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
