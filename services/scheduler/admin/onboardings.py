"""Commands for onboardings."""

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated
from uuid import UUID

import typer

from services.scheduler.admin.database import in_transaction
from services.scheduler.admin.failed_calls import print_failed_calls
from services.scheduler.admin.options import (
    NO_REASON,
    ORGANIZATION,
    OnBehalfOption,
    OrganizationArgument,
    ReasonOption,
    requester,
    require_match,
    require_meta_id,
)
from services.scheduler.admin.tables import MAX_SHOWN, Columns, JsonOption, print_list
from services.scheduler.answers import Answer
from services.scheduler.run_job import UsageError, run_job
from shared.actions import ownership
from shared.crypto import KeyRing
from shared.settings.groups import DatabaseSettings, Environment, TokenKeySettings
from shared.settings.load import load
from shared.store import audit
from shared.store.connections import (
    connections,
    login_codes,
    onboardings,
    organizations,
    tracking_codes,
)
from shared.store.connections.onboardings import NewOnboarding, Onboarding
from shared.store.pool import Conn, now

app = typer.Typer(help="Manage onboardings: attempts to connect a WABA.", no_args_is_help=True)

#: Hard to guess, and usable as one segment of a URL's path without escaping.
TRACKING_CODE = re.compile(r"[A-Za-z0-9._~-]{8,128}")

Code = Annotated[str, typer.Argument(help="The onboarding's tracking code.")]
OnboardingId = Annotated[UUID, typer.Argument(help="The onboarding's id (see `list`).")]


@app.command("start")
def start_onboarding(
    organization_id: OrganizationArgument,
    code: Annotated[str | None, typer.Option(help="A tracking code; else a random one.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=720, help="Hours until it expires.")] = 24,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Start an onboarding, and write its tracking code.

    The code is a secret. It goes to standard output.

    Example: porteiro onboardings start bakery --hours 48
    """
    tracking_code = code or tracking_codes.new_code()

    async def start(conn: Conn) -> Answer:
        ring = KeyRing(load(TokenKeySettings).token_keys)
        require_match(ORGANIZATION, "ORGANIZATION_ID", organization_id)
        if not await organizations.exists(conn, organization_id):
            raise UsageError(["ORGANIZATION_ID is not known: see `porteiro organizations add`"])
        require_match(TRACKING_CODE, "--code", tracking_code)
        expires_at = datetime.now(UTC) + timedelta(hours=hours)
        new = NewOnboarding(organization_id, tracking_code, expires_at)
        onboarding = await onboardings.start(conn, ring, new)
        if onboarding is None:
            raise UsageError(["--code is taken: choose another"])
        subject = f"{onboarding.id} for {organization_id}"
        asked = requester(reason, on_behalf_of)
        await audit.add(conn, asked, action="onboarding.start", subject=subject)
        return Answer(
            "onboarding.started",
            f"The onboarding {onboarding.id} of {organization_id} is started. Its tracking code, a"
            " secret:",
            organization_id=organization_id,
            onboarding_id=str(onboarding.id),
        )

    run_job("onboardings", in_transaction(start))
    sys.stdout.write(tracking_code + "\n")


@app.command("list")
def list_onboardings(as_json: JsonOption = False) -> None:
    """List onboardings under way or stuck, and why."""

    async def show(conn: Conn) -> None:
        now = datetime.now(UTC)
        columns: Columns[Onboarding] = {
            "id": lambda row: row.id,
            "started": lambda row: row.created_at,
            "reason": lambda row: row.why(now),
            "organization": lambda row: row.organization_id,
        }
        unfinished = await onboardings.unfinished(conn, limit=MAX_SHOWN)
        print_list("Unfinished onboardings (UTC)", columns, unfinished, as_json=as_json)

    run_job("onboardings", in_transaction(show))


@app.command("failures")
def failures(onboarding_id: OnboardingId, as_json: JsonOption = False) -> None:
    """Show the newest failed calls to Meta of the last 30 days.

    The newest come first.
    """

    async def show(conn: Conn) -> None:
        await print_failed_calls(conn, str(onboarding_id), as_json=as_json)

    run_job("onboardings", in_transaction(show))


@app.command("retry")
def retry_onboarding(
    onboarding_id: OnboardingId,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Ask Meta again about a login that could not be proven. First mend the cause."""

    async def retry(conn: Conn) -> Answer:
        onboarding = await onboardings.by_id(conn, onboarding_id)
        if onboarding is None or not onboarding.has_token:
            raise UsageError(["this is no onboarding with a login that waits to be proven"])
        asked, subject = requester(reason, on_behalf_of), str(onboarding_id)
        await audit.add(conn, asked, action="onboarding.retry", subject=subject)
        await login_codes.request_proof(conn, onboarding)
        return Answer(
            "onboarding.proof_requested",
            f"Meta is asked again about the onboarding {subject}: `porteiro onboardings list` shows"
            " it until its login is proven.",
            onboarding_id=subject,
        )

    run_job("onboardings", in_transaction(retry))


@app.command("prove")
def prove_onboarding(
    code: Code,
    waba_id: Annotated[str, typer.Argument(help="The WABA of the onboarding's session.")],
    business: Annotated[
        str | None, typer.Option(help="Meta's id of the business that owns the WABA.")
    ] = None,
    reason: ReasonOption = NO_REASON,
    on_behalf_of: OnBehalfOption = None,
) -> None:
    """Record a session as proven, as if a token proved it. Only where ENVIRONMENT is local."""

    async def prove(conn: Conn) -> Answer:
        if load(DatabaseSettings).environment is not Environment.LOCAL:
            raise UsageError(["only where ENVIRONMENT is local: elsewhere a token must prove it"])
        onboarding = await onboardings.find(conn, code, organization_id=None)
        organization_id = await ownership.record_proof(
            conn,
            await connections.ensure_locked(conn, require_meta_id("WABA_ID", waba_id)),
            onboarding,
            None if business is None else require_meta_id("--business", business),
            await now(conn),
        )
        if onboarding is None or organization_id is None:
            raise UsageError(["CODE is no onboarding that could be of this WABA"])
        asked, subject = requester(reason, on_behalf_of), f"{onboarding.id} for {waba_id}"
        await audit.add(conn, asked, action="onboarding.prove", subject=subject)
        return Answer(
            "onboarding.proven",
            f"WABA {waba_id} belongs to {organization_id} now, as if a token proved it.",
            organization_id=organization_id,
            waba_id=waba_id,
        )

    run_job("onboardings", in_transaction(prove))
