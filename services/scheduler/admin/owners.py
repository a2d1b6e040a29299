"""Organizations and their onboardings, by hand."""

import re
import secrets
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated

import structlog
import typer
from rich.console import Console
from rich.table import Table

from services.scheduler.run_job import run_job
from shared.actions import connection_state
from shared.actions.onboarding_proof import request_proof
from shared.domain.splitting import as_id
from shared.errors import StartupRefused
from shared.settings.groups import DatabaseSettings, Environment
from shared.settings.load import load
from shared.store.connections import onboardings, organizations
from shared.store.connections.onboardings import NewOnboarding
from shared.store.pool import Conn, open_pool, transaction

log = structlog.get_logger()
organizations_app = typer.Typer(help="The company's customers.", no_args_is_help=True)
onboardings_app = typer.Typer(help="Their tries to connect a WABA.", no_args_is_help=True)

MAX_SHOWN = 50
ORGANIZATION = re.compile(r"[A-Za-z0-9._:-]{1,128}")
#: Hard to guess, and one segment of a path as it is.
TRACKING_CODE = re.compile(r"[A-Za-z0-9._~-]{8,128}")

Name = Annotated[str, typer.Argument(help="The company's own id for its customer.")]
Code = Annotated[str, typer.Argument(help="The onboarding's tracking code.")]


@organizations_app.command("add")
def add_organization(
    organization_id: Name,
    business: Annotated[
        str | None, typer.Option(help="A Meta business id that is known to be theirs.")
    ] = None,
) -> None:
    """Name an organization and, if known, a business it owns; idempotent."""

    async def add(conn: Conn) -> None:
        await organizations.add(conn, matching(ORGANIZATION, "ORGANIZATION_ID", organization_id))
        if business is not None:
            await organizations.add_business(conn, organization_id, meta_id("--business", business))
        log.info("organization.added", organization_id=organization_id)

    run_job("organizations", in_transaction(add))


@organizations_app.command("list")
def list_organizations(
    after: Annotated[str, typer.Option(help="Only those behind this one.")] = "",
) -> None:
    """Organizations with their businesses and how many WABAs are theirs."""

    async def work(conn: Conn) -> None:
        found = await organizations.listed(conn, after=after, limit=MAX_SHOWN)
        more = f"; what follows: --after {found[-1].id}" if len(found) == MAX_SHOWN else ""
        table = Table(title=f"Organizations{more}")
        for column in ("organization", "since", "businesses", "WABAs"):
            table.add_column(column, overflow="fold")
        for one in found:
            businesses = ", ".join(one.business_ids)
            table.add_row(one.id, f"{one.created_at:%Y-%m-%d}", businesses, str(one.wabas))
        Console().print(table)

    run_job("organizations", in_transaction(work))


@onboardings_app.command("start")
def start_onboarding(
    organization_id: Name,
    code: Annotated[str | None, typer.Option(help="A tracking code; else a random one.")] = None,
    hours: Annotated[int, typer.Option(min=1, max=720, help="Until it expires.")] = 24,
) -> None:
    """Open an onboarding and log its tracking code."""

    async def start(conn: Conn) -> None:
        await organizations.add(conn, matching(ORGANIZATION, "ORGANIZATION_ID", organization_id))
        tracking_code = matching(TRACKING_CODE, "--code", code or secrets.token_urlsafe(18))
        expires_at = datetime.now(UTC) + timedelta(hours=hours)
        started = NewOnboarding(organization_id, tracking_code, expires_at)
        if not await onboardings.start(conn, started):
            raise StartupRefused(["--code is taken: choose another"])
        log.info("onboarding.started", organization_id=organization_id, tracking_code=tracking_code)

    run_job("onboardings", in_transaction(start))


@onboardings_app.command("list")
def list_onboardings() -> None:
    """Customers who are under way or stuck, the latest first, and why."""

    async def work(conn: Conn) -> None:
        table = Table(title="Unfinished onboardings")
        for column in ("tracking code", "organization", "started", "reason"):
            table.add_column(column, overflow="fold", no_wrap=column == "tracking code")
        for one in await onboardings.unfinished(conn, limit=MAX_SHOWN):
            reason = one.why(datetime.now(UTC)) or ""
            started = f"{one.created_at:%Y-%m-%d %H:%M}"
            table.add_row(one.tracking_code, one.organization_id, started, reason)
        Console().print(table)

    run_job("onboardings", in_transaction(work))


@onboardings_app.command("retry")
def retry_onboarding(code: Code) -> None:
    """Have a login that could not be proven asked about once more: after its cause was mended."""

    async def retry(conn: Conn) -> None:
        one = await onboardings.find(conn, code, organization_id=None)
        if one is None or not one.has_token:
            raise StartupRefused(["CODE is no onboarding with a login that waits to be proven"])
        await request_proof(conn, one)
        log.info("onboarding.proof_requested", tracking_code=code)

    run_job("onboardings", in_transaction(retry))


@onboardings_app.command("prove")
def prove_onboarding(
    code: Code,
    waba_id: Annotated[str, typer.Argument(help="The WABA its session is of.")],
    business: Annotated[
        str | None, typer.Option(help="The business that owns the WABA, as Meta told it.")
    ] = None,
) -> None:
    """Record a session as proven, as if a token had proved it. Only where ENVIRONMENT is local."""

    async def prove(conn: Conn) -> None:
        if load(DatabaseSettings).environment is not Environment.LOCAL:
            raise StartupRefused(["only where ENVIRONMENT is local: elsewhere a token proves it"])
        proven_by = await connection_state.record_proof(
            conn,
            code,
            meta_id("WABA_ID", waba_id),
            None if business is None else meta_id("--business", business),
            datetime.now(UTC),
        )
        if proven_by is None:
            raise StartupRefused(["CODE is no onboarding that could be this WABA's"])
        log.info("onboarding.proven", organization_id=proven_by, waba_id=waba_id)

    run_job("onboardings", in_transaction(prove))


async def in_transaction(work: Callable[[Conn], Awaitable[None]]) -> None:
    """Do `work` on the database of the settings, all of it or nothing."""
    url = load(DatabaseSettings).database_url.get_secret_value()
    async with open_pool(url, name="porteiro", size=1) as pool, transaction(pool) as conn:
        await work(conn)


def matching(pattern: re.Pattern[str], name: str, value: str) -> str:
    """Raises Refusal with what is expected."""
    if not pattern.fullmatch(value):
        raise StartupRefused([f"{name} must match {pattern.pattern}"])
    return value


def meta_id(name: str, value: str) -> str:
    """One of Meta's ids. Raises Refusal."""
    if as_id(value) is None:
        raise StartupRefused([f"{name} must be 1 to 20 digits"])
    return value
