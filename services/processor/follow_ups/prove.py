"""Prove an onboarding: ask Meta, with its token, whether its session WABA is true."""

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

from services.processor.follow_ups.context import FollowUpContext, StepDone, StepOutcome
from services.processor.follow_ups.fence import ending
from shared.actions import connection_state
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.proof import COEXISTENCE, FINISHES, ProofRefused, TokenReport, proven_waba
from shared.domain.provisioning import Blocked
from shared.domain.remedies import Reason
from shared.graph.answers import Waba
from shared.process.crash_points import crash_point
from shared.store import audit, events
from shared.store.connections import connections, follow_ups, onboardings, proofs, tokens
from shared.store.connections import login_codes as codes
from shared.store.connections.follow_ups import FollowUp
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Conn, transaction

#: The onboarding was closed meanwhile. The caller that closed it already got the answer.
ENDED: Literal["ended"] = "ended"


async def prove(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Ask Meta which WABA the onboarding's token is for. Then store, in one transaction, the proof,
    the connection's owner, its token and the next follow-up.

    A token that proves nothing is deleted, and its onboarding gets the reason.
    """
    async with transaction(context.pool) as conn:
        onboarding = await onboardings.find(conn, follow_up.subject, organization_id=None)
        unproven = await codes.read_token(conn, context.ring, onboarding) if onboarding else None
        connected = (
            await proofs.wabas_of(conn, onboarding.organization_id) if onboarding else frozenset()
        )
    if onboarding is None or unproven is None:
        async with ending(context.pool, follow_up):
            return StepDone("nothing_to_prove")
    token = unproven.text
    report = await context.graph.debug_token(token)
    try:
        waba = await _read_waba(context, report, token, onboarding, connected)
    except ProofRefused as refusal:
        reason = refusal.reason
        if reason == "session_needed":
            if onboarding.flow == "popup":
                return Blocked(reason)
            reason = "waba_ambiguous"  # a redirect brings no message from the browser
        async with ending(context.pool, follow_up) as conn:
            await _refuse_proof(conn, onboarding, reason)
        return StepDone(reason)
    crash_point("onboarding.proving")
    async with ending(context.pool, follow_up) as conn:
        refusal_reason = await _take_ownership(conn, onboarding, waba)
        if refusal_reason == ENDED:
            return StepDone(refusal_reason)
        if refusal_reason is not None:
            await _refuse_proof(conn, onboarding, refusal_reason)
            return StepDone(refusal_reason)
        await tokens.save(
            conn,
            context.ring,
            waba.waba_id,
            token,
            expires_at=report.expires_at or unproven.expires_at,
            user_id=report.user_id,
        )
        await codes.delete_token(conn, onboarding, reason=None)
        await events.add_for_onboarding(
            conn, "completed", onboarding, waba_id=waba.waba_id, reason=None
        )
        await follow_ups.add(conn, "provision", [waba.waba_id])
    crash_point("onboarding.proven")
    return StepDone("proven")


async def _read_waba(
    context: FollowUpContext,
    report: TokenReport,
    token: str,
    onboarding: Onboarding,
    connected: Collection[str],
) -> Waba:
    """Read the WABA that the token proves, with the token. Raise ProofRefused."""
    waba_id = proven_waba(
        report,
        app_id=context.graph.app_id,
        session_waba=onboarding.session_waba_id,
        connected=connected,
    )
    try:
        return await context.graph.read_waba(waba_id, token)
    except MetaRefused:
        raise ProofRefused("waba_not_granted") from None
    except CustomerMustAct as error:
        raise ProofRefused(error.reason) from None


async def _take_ownership(
    conn: Conn, onboarding: Onboarding, waba: Waba
) -> Reason | Literal["ended"] | None:
    """Make the onboarding's organization the owner of the WABA, and prepare a new setup.

    Return None, or the reason of the refusal: another organization has proven it before, or the
    onboarding's link was closed.
    """
    row = await connections.ensure_locked(conn, waba.waba_id)
    organization_id = onboarding.organization_id
    proven_by = (await proofs.valid(conn, [waba.waba_id])).get(waba.waba_id, [])
    before = row.owner
    is_another = before is not None and before.organization_id != organization_id
    if before and is_another and before.is_proven and before.organization_id in proven_by:
        return "owned_by_another"
    proving_organization = await connection_state.record_proof(
        conn, row, onboarding.tracking_code, waba.owner_business_id, datetime.now(UTC)
    )
    if proving_organization is None:
        return ENDED
    if before and is_another:
        await audit.add(
            conn,
            actor="onboarding",
            action="connection.taken_over",
            subject=f"{waba.waba_id} from {before.organization_id} for {organization_id}",
            reason="a token proved it",
        )
    # Read the onboarding again: the browser's message may have come meanwhile. Without a message,
    # what the organization requested counts.
    latest = await onboardings.find(conn, onboarding.tracking_code, organization_id=organization_id)
    event = latest.session_event if latest and latest.session_event in FINISHES else None
    is_coexistence = event == COEXISTENCE or (event is None and onboarding.is_coexistence)
    await connections.start_over(conn, waba.waba_id, is_coexistence=is_coexistence)
    # Close the old token's setup: what it waits for, such as a limit of 72 hours, must not delay
    # the new setup.
    await follow_ups.close(conn, ["disconnect", "provision"], waba.waba_id)
    return None


async def _refuse_proof(conn: Conn, onboarding: Onboarding, reason: Reason) -> None:
    """Delete the token, record the reason and add the event `refused`.

    The onboarding stays open: the customer may try again.
    """
    await codes.delete_token(conn, onboarding, reason=reason)
    await events.add_for_onboarding(conn, "refused", onboarding, waba_id=None, reason=reason)


async def record_blocked_proof(conn: Conn, tracking_code: str, reason: Reason) -> None:
    onboarding = await onboardings.find(conn, tracking_code, organization_id=None)
    if onboarding is not None:
        await onboardings.set_reason(conn, onboarding, reason)
