"""Check a connection at Meta: ask with the customer's own token, judge, record and tell.

A check is safe to repeat: what it records and tells follows from the stored state and the answer.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Literal

from shared.actions.connection_reads import record_reached
from shared.actions.connection_state import record_facts, tell
from shared.actions.number_changes import record_numbers
from shared.crypto import KeyRing, Undecryptable
from shared.domain.facts import LIVE, Fact, whole_second
from shared.domain.graph_errors import GraphError, MetaThrottled
from shared.domain.proof import TokenReport
from shared.domain.remedies import remedy
from shared.domain.token_health import (
    CHECK_EVERY,
    Finding,
    MetaAnswer,
    NoAnswer,
    NothingSaid,
    TokenHealth,
    Verdict,
    is_known,
    is_suspicious,
    judge,
    needs_debug,
    refusal,
)
from shared.graph.answers import NumberReading
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store.connections import check_times, connections, health, tokens
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.health import CheckSubject
from shared.store.pool import Conn, Pool, now, transaction

#: While Meta is being asked whether an era ended, that read decides, and no check.
SUSPENDED_ERA = timedelta(hours=1)
#: How a check ended: `idle`: there is nothing to check; `replaced`: another token was stored
#: meanwhile, so the answer says nothing.
CheckOutcome = Literal[
    "valid", "expiring", "expired", "revoked", "doubted", "unasked", "undecryptable", "replaced",
    "idle",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class CheckResult:
    """How a check ended. `is_suspended`: bad answers count for nothing, because too many
    connections turn bad, or Meta refuses the app's own token. `subject` None: it has no token."""

    outcome: CheckOutcome
    is_suspended: bool = False
    subject: CheckSubject | None = None


@dataclass(frozen=True, slots=True)
class _Asked:
    """What Meta answered. `numbers` None: it listed none, because it refused or did not answer.
    `report` None: `debug_token` was not asked, or gave no answer."""

    finding: Finding
    numbers: Sequence[NumberReading] | None
    report: TokenReport | None
    is_app_refused: bool
    at: datetime


async def check_connection(pool: Pool, ring: KeyRing, graph: Graph, waba_id: str) -> CheckResult:
    """Ask Meta about the connection, and record and tell what follows. Set when it is due next.

    Raise no GraphError: that Meta cannot be asked is a result too.
    """
    async with transaction(pool) as conn:
        try:
            subject = await health.load(conn, ring, waba_id)
        except Undecryptable:
            await tokens.mark_unknown(conn, waba_id)
            await check_times.set_due(conn, waba_id, await now(conn) + CHECK_EVERY)
            return CheckResult("undecryptable")
        at = await now(conn)
        if subject is None or subject.is_suspended:
            await check_times.set_due(conn, waba_id, at + SUSPENDED_ERA if subject else None)
            return CheckResult("idle")
    asked = await _ask(graph, subject, at)
    crash_point("check.asked")
    async with transaction(pool) as conn:
        [row] = await connections.lock(conn, [waba_id])
        current = await health.load(conn, ring, waba_id)
        if current is None or current.stored_at != subject.stored_at or current.is_suspended:
            return CheckResult("replaced")
        result = await _record(conn, row, current, asked)
    crash_point("check.recorded")
    return result


async def _ask(graph: Graph, subject: CheckSubject, at: datetime) -> _Asked:
    waba_id, token = subject.waba_id, subject.token.text
    numbers: Sequence[NumberReading] | None = None
    finding: Finding
    try:
        numbers = await graph.read_number_properties(waba_id, token)
        is_subscribed = await graph.is_subscribed(waba_id, token)
        finding = MetaAnswer(None if is_subscribed else "subscription_lost")
    except GraphError as error:
        finding = refusal(error)
    report = None
    if needs_debug(subject.health, finding, subject.debugged_at, at):
        try:
            report = await graph.debug_token(token, subject=waba_id, can_wait=True)
        except MetaThrottled:
            pass  # a check without it is a check
        except GraphError as error:
            if error.reason == "app_token_refused":
                return _Asked(NoAnswer(), None, None, is_app_refused=True, at=at)
    if report is not None and not report.is_valid and finding in (MetaAnswer(None), NothingSaid()):
        is_expired = report.expires_at is not None and report.expires_at <= at
        finding = MetaAnswer("token_expired" if is_expired else "token_revoked")
    return _Asked(finding, numbers, report, is_app_refused=False, at=at)


async def _record(
    conn: Conn, row: ConnectionRow, subject: CheckSubject, asked: _Asked
) -> CheckResult:
    known, at = subject.health, await now(conn)
    if asked.report is not None and asked.report.is_valid:
        known = replace(
            known,
            expires_at=asked.report.expires_at,
            data_access_ends_at=asked.report.data_access_ends_at,
        )
    is_suspended = asked.is_app_refused or await _is_outage(conn, subject, asked.finding)
    verdict = judge(known, asked.finding, at, is_suspended=is_suspended)
    await health.save(
        conn,
        subject.waba_id,
        verdict.health,
        is_answered=not isinstance(asked.finding, NoAnswer),
        is_debugged=asked.report is not None,
    )
    await check_times.set_due(conn, subject.waba_id, verdict.next_check_at)
    if verdict.health.doubt is not None and subject.health.doubt is None and not is_suspended:
        await check_times.bring_forward(conn, subject.waba_id)
    if not is_suspended and isinstance(asked.finding, MetaAnswer):
        await _record_reach(conn, row, verdict.health, asked)
    if asked.numbers is not None:
        await record_numbers(conn, row.waba_id, subject.organization_id, asked.numbers, asked.at)
    if verdict.event is not None:
        await _tell(conn, subject, verdict)
    checked = replace(subject, health=verdict.health)
    return CheckResult(_outcome(asked.finding, verdict), is_suspended, checked)


async def _is_outage(conn: Conn, subject: CheckSubject, finding: Finding) -> bool:
    """Return whether this bad answer is one of too many that came at once."""
    is_news = (
        isinstance(finding, MetaAnswer)
        and finding.complaint is not None
        and not is_known(subject.health, finding.complaint)
    )
    if not is_news:
        return False
    others = await health.recent_checks(conn, left_out=subject.waba_id)
    return is_suspicious(others.checked + 1, others.bad + 1, [True, *others.last_bad])


async def _record_reach(
    conn: Conn, row: ConnectionRow, health_now: TokenHealth, asked: _Asked
) -> None:
    """Record what the answer says of the connection itself, where that is news.

    A lost subscription of an active connection is made again.
    """
    at, state = whole_second(asked.at), row.status.state
    is_well = asked.finding == MetaAnswer(None)
    if is_well and state not in LIVE:
        await record_reached(conn, row, at, is_subscribed=True)
    elif health_now.reason == "subscription_lost" and state == "active":
        await record_reached(conn, row, at, is_subscribed=False)
    elif health_now.reason == "target_missing" and state in LIVE:
        await record_facts(conn, row, [Fact("reach", "unreachable", at)])


async def _tell(conn: Conn, subject: CheckSubject, verdict: Verdict) -> None:
    """Add the event of a verdict."""
    told = verdict.health
    reason = "token_expiring" if verdict.event == "token_expiring" else told.reason
    found = remedy(reason)
    token = {
        "state": told.state,
        "reason": reason,
        "remedy": found.text if found else None,
        "ends_at": told.ends_at.isoformat() if told.ends_at else None,
    }
    await tell(conn, subject.waba_id, subject.organization_id, str(verdict.event), {"token": token})


def _outcome(finding: Finding, verdict: Verdict) -> CheckOutcome:
    if isinstance(finding, NoAnswer):
        return "unasked"
    if verdict.health.doubt is not None:
        return "doubted"
    match verdict.health.state:
        case "expiring" | "expired" | "revoked" as state:
            return state
    return "valid"
