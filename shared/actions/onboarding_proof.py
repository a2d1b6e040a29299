"""Proving an onboarding: what the browser claimed is asked of Meta, with the token."""

from collections.abc import Collection
from datetime import UTC, datetime

from shared.actions import connection_state
from shared.actions.follow_up_context import FollowUpContext, StepDone, StepOutcome
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.proof import COEXISTENCE, FINISHES, ProofRefused, TokenReport, proven_waba
from shared.domain.provisioning import Blocked
from shared.graph.answers import Waba
from shared.process.crash_points import crash_point
from shared.store import audit, events
from shared.store.connections import codes, connections, follow_ups, onboardings, proofs, tokens
from shared.store.connections.follow_ups import FollowUp
from shared.store.connections.onboardings import Onboarding
from shared.store.pool import Conn, transaction

#: Closed meanwhile, by somebody who was told of it then.
ENDED = "ended"


async def prove(context: FollowUpContext, one: FollowUp) -> StepOutcome:
    """Ask Meta what the onboarding's token is for; then all at once: the proof, the connection's
    owner, its token, and what follows.

    A token that proves nothing is dropped, and the onboarding says why.
    """
    async with transaction(context.pool) as conn:
        onboarding = await onboardings.find(conn, one.subject, organization_id=None)
        held = await codes.read_token(conn, context.ring, onboarding) if onboarding else None
        if onboarding is None or held is None:
            await follow_ups.fence(conn, one)
            await follow_ups.end(conn, one)
            return StepDone("nothing_to_prove")
        connected = await proofs.wabas_of(conn, onboarding.organization_id)
    token, expires_at = held
    report = await context.graph.debug_token(token)
    try:
        waba = await _read_waba(context, report, token, onboarding, connected)
    except ProofRefused as unproven:
        reason = unproven.reason
        if reason == "session_needed":
            if onboarding.flow == "popup":
                return Blocked(reason)
            reason = "waba_ambiguous"  # a redirect brings no message
        async with transaction(context.pool) as conn:
            await _refuse(conn, one, onboarding, reason)
        return StepDone(reason)
    crash_point("onboarding.proving")
    async with transaction(context.pool) as conn:
        refused = await _attribute(conn, onboarding, waba)
        if refused == ENDED:
            await follow_ups.fence(conn, one)
            await follow_ups.end(conn, one)
            return StepDone(refused)
        if refused is not None:
            await _refuse(conn, one, onboarding, refused)
            return StepDone(refused)
        await tokens.save(
            conn,
            context.ring,
            waba.waba_id,
            token,
            expires_at=report.expires_at or expires_at,
            user_id=report.user_id,
        )
        await codes.delete_token(conn, onboarding, reason=None)
        await events.add_for_onboarding(
            conn, "completed", onboarding, waba_id=waba.waba_id, reason=None
        )
        await follow_ups.fence(conn, one)
        await follow_ups.end(conn, one)
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
    """The WABA as the token reads it. Raises Unproven."""
    waba_id = proven_waba(
        report,
        app_id=context.graph.app_id,
        claimed=onboarding.session_waba_id,
        connected=connected,
    )
    try:
        return await context.graph.read_waba(waba_id, token)
    except MetaRefused:
        raise ProofRefused("waba_not_granted") from None
    except CustomerMustAct as error:
        raise ProofRefused(error.reason) from None


async def _attribute(conn: Conn, onboarding: Onboarding, waba: Waba) -> str | None:
    """None, or why it cannot be: another organization was here first, or its link was closed."""
    await connections.ensure(conn, [waba.waba_id])
    [held] = await connections.lock(conn, [waba.waba_id])
    ours = onboarding.organization_id
    standing = (await proofs.valid(conn, [waba.waba_id])).get(waba.waba_id, [])
    before = held.owner
    is_another = before is not None and before.organization_id != ours
    if before and is_another and before.is_proven and before.organization_id in standing:
        return "owned_by_another"
    is_proven = await connection_state.record_proof(
        conn,
        onboarding.tracking_code,
        waba.waba_id,
        waba.owner_business_id,
        datetime.now(UTC),
    )
    if is_proven is None:
        return ENDED
    if before and is_another:
        await audit.add(
            conn,
            actor="onboarding",
            action="connection.taken_over",
            subject=f"{waba.waba_id} from {before.organization_id} for {ours}",
            reason="a token proved it",
        )
    # Asked afresh: the browser's message may have come meanwhile; without one, what was asked for.
    now = await onboardings.find(conn, onboarding.tracking_code, organization_id=ours)
    event = now.session_event if now and now.session_event in FINISHES else None
    is_coexistence = event == COEXISTENCE or (event is None and onboarding.is_coexistence)
    await connections.start_over(conn, waba.waba_id, is_coexistence=is_coexistence)
    # And what the old token's setup waits for, a limit of 72 hours for one, is not for this one.
    await follow_ups.close(conn, ["disconnect", "provision"], waba.waba_id)
    return None


async def _refuse(conn: Conn, one: FollowUp, onboarding: Onboarding, reason: str) -> None:
    """The onboarding stays open: the customer may try again."""
    await codes.delete_token(conn, onboarding, reason=reason)
    await events.add_for_onboarding(conn, "refused", onboarding, waba_id=None, reason=reason)
    await follow_ups.fence(conn, one)
    await follow_ups.end(conn, one)


async def request_proof(conn: Conn, one: Onboarding) -> None:
    """Have a token that is held asked about once more: why it was stuck is no more."""
    await onboardings.set_reason(conn, one, None)
    await follow_ups.add(conn, "prove", [one.tracking_code])


async def record_blocked_proof(conn: Conn, tracking_code: str, reason: str) -> None:
    onboarding = await onboardings.find(conn, tracking_code, organization_id=None)
    if onboarding is not None:
        await onboardings.set_reason(conn, onboarding, reason)
