"""Commands for onboardings."""

import re
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.options import (
    ORGANIZATION,
    OrganizationArgument,
    require_match,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, print_table
from services.scheduler.run_job import UsageError, run_job
from shared.actions import ownership
from shared.actions.onboarding_proof import request_proof
from shared.settings.groups import DatabaseSettings, Environment
from shared.settings.load import load
from shared.store.connections import connections, onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, now

log = structlog.get_logger()
app = typer.Typer(
    help="Manage onboardings, organizations' attempts to connect a WABA.", no_args_is_help=True
)

#: Hard to guess, and usable as one segment of a URL's path without escaping.
TRACKING_CODE = re.compile(r"[A-Za-z0-9._~-]{8,128}")

Code = Annotated[str, typer.Argument(help="The onboarding's tracking code.")]


@app.command("start")
def start_onboarding(
    organization_id: OrganizationArgument,
    code: Annotated[str | None, typer.Option(help="A tracking code; else a random one.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=720, help="Hours until it expires.")] = 24,
) -> None:
    """Start an onboarding and log its tracking code. It counts only if the exit code is 0."""

    async def start(conn: Conn) -> None:
        require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id)
        if not await organizations.exists(conn, organization_id):
            raise UsageError(["ORGANIZATION_ID is not known: see `porteiro organizations add`"])
        tracking_code = require_match(
            TRACKING_CODE, "--code", code or onboardings.new_tracking_code()
        )
        expires_at = datetime.now(UTC) + timedelta(hours=hours)
        new = NewOnboarding(organization_id, tracking_code, expires_at)
        if not await onboardings.start(conn, new):
            raise UsageError(["--code is taken: choose another"])
        log.info("onboarding.started", organization_id=organization_id, tracking_code=tracking_code)

    run_job("onboardings", in_transaction(start))


@app.command("list")
def list_onboardings() -> None:
    """List onboardings that are under way or stuck, and why; the last to expire first."""

    async def show(conn: Conn) -> None:
        now = datetime.now(UTC)
        columns = ("tracking code", "organization", "started", "reason")
        rows = [
            (row.tracking_code, row.organization_id, f"{row.created_at:%Y-%m-%d %H:%M}",
             row.why(now) or "")
            for row in await onboardings.unfinished(conn, limit=MAX_SHOWN)
        ]  # fmt: skip
        print_table("Unfinished onboardings", columns, rows, no_wrap=("tracking code",))

    run_job("onboardings", in_transaction(show))


@app.command("retry")
def retry_onboarding(code: Code) -> None:
    """Ask Meta again about a login that could not be proven. First mend the cause."""

    async def retry(conn: Conn) -> None:
        onboarding = await onboardings.find(conn, code, organization_id=None)
        if onboarding is None or not onboarding.has_token:
            raise UsageError(["CODE is no onboarding with a login that waits to be proven"])
        await request_proof(conn, onboarding)
        log.info("onboarding.proof_requested", tracking_code=code)

    run_job("onboardings", in_transaction(retry))


@app.command("prove")
def prove_onboarding(
    code: Code,
    waba_id: Annotated[str, typer.Argument(help="The WABA of the onboarding's session.")],
    business: Annotated[
        str | None, typer.Option(help="Meta's id of the business that owns the WABA.")
    ] = None,
) -> None:
    """Record a session as proven, as if a token proved it. Only where ENVIRONMENT is local."""

    async def prove(conn: Conn) -> None:
        if load(DatabaseSettings).environment is not Environment.LOCAL:
            raise UsageError(["only where ENVIRONMENT is local: elsewhere a token must prove it"])
        organization_id = await ownership.record_proof(
            conn,
            await connections.ensure_locked(conn, require_meta_id("WABA_ID", waba_id)),
            code,
            None if business is None else require_meta_id("--business", business),
            await now(conn),
        )
        if organization_id is None:
            raise UsageError(["CODE is no onboarding that could be of this WABA"])
        log.info("onboarding.proven", organization_id=organization_id, waba_id=waba_id)

    run_job("onboardings", in_transaction(prove))
