"""Prove an onboarding: ask Meta, with its token, whether its session WABA is true."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import suppress
from typing import Literal

from services.processor.follow_ups.context import FollowUpContext, StepDone, StepOutcome
from services.processor.follow_ups.fence import ending
from shared.actions import ownership
from shared.actions.connection_reads import read_connection
from shared.crypto import Undecryptable
from shared.domain.dialog import COEXISTENCE, FINISHES
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.numbers import Login
from shared.domain.proof import ProofRefused, TokenReport, proven_wabas
from shared.domain.provisioning import Blocked
from shared.domain.remedies import Reason
from shared.graph.answers import Waba
from shared.process.crash_points import crash_point
from shared.store import events
from shared.store.connections import (
    connections,
    eras,
    follow_ups,
    numbers,
    onboardings,
    sessions,
    tokens,
    waba_choices,
)
from shared.store.connections import login_codes as codes
from shared.store.connections.follow_ups import FollowUp
from shared.store.connections.onboardings import Onboarding
from shared.store.connections.waba_choices import WabaChoice
from shared.store.pool import Conn, now, transaction

#: WABAs that a customer may choose from: those with the highest ids, which are the newest.
MAX_CHOICES = 20
#: The onboarding was closed meanwhile. The caller that closed it already got the answer.
ENDED: Literal["ended"] = "ended"


async def prove(context: FollowUpContext, follow_up: FollowUp) -> StepOutcome:
    """Ask Meta which WABA the onboarding's token is for. Then store, in one transaction, the proof,
    the connection's owner, its token and the next follow-up.

    A token that proves nothing is deleted, and its onboarding gets the reason. One that proves
    several WABAs waits until the customer has chosen.
    """
    async with transaction(context.pool) as conn:
        onboarding = await onboardings.by_subject(conn, follow_up.subject)
        unproven = await codes.read_token(conn, context.ring, onboarding) if onboarding else None
        connected = (
            await eras.proven_wabas(conn, onboarding.organization_id) if onboarding else frozenset()
        )
    if onboarding is None or unproven is None:
        async with ending(context.pool, follow_up):
            return StepDone("nothing_to_prove")
    token = unproven.text
    report = await context.graph.debug_token(token, subject=str(onboarding.id))
    try:
        waba = await _read_proven_waba(context, report, token, onboarding, connected)
    except ProofRefused as refusal:
        reason = refusal.reason
        if reason in ("waba_choice_needed", "session_needed"):
            return Blocked(reason)
        async with ending(context.pool, follow_up) as conn:
            await _refuse_proof(conn, onboarding, reason)
        return StepDone(reason)
    crash_point("onboarding.proving")
    await _ask_for_owner(context, waba.waba_id, onboarding.organization_id)
    async with ending(context.pool, follow_up) as conn:
        refusal_reason = await _take_ownership(conn, onboarding, waba)
        if refusal_reason == ENDED:
            return StepDone(refusal_reason)
        if refusal_reason is not None:
            await _refuse_proof(conn, onboarding, refusal_reason)
            return StepDone(refusal_reason)
        await tokens.save(
            conn, context.ring, waba.waba_id, token, report.or_ending(unproven.expires_at)
        )
        await codes.delete_token(conn, onboarding, reason=None)
        await events.add_for_onboarding(
            conn, "completed", onboarding, waba_id=waba.waba_id, reason=None
        )
        await follow_ups.add(conn, "provision", [waba.waba_id])
    crash_point("onboarding.proven")
    return StepDone("proven")


async def _read_proven_waba(
    context: FollowUpContext,
    report: TokenReport,
    token: str,
    onboarding: Onboarding,
    connected: Collection[str],
) -> Waba:
    """Read the WABA that the token proves, with the token. Raise ProofRefused.

    If it proves several, store those that it reaches: the customer must choose one.
    """
    waba_ids = proven_wabas(
        report,
        app_id=context.graph.app_id,
        session_waba=onboarding.session_waba_id,
        session_wabas=onboarding.session_waba_ids or (),
        connected=connected,
    )
    if len(waba_ids) == 1:
        return await _read_waba(context, onboarding, waba_ids[0], token)
    wabas = await _read_reachable(context, onboarding, waba_ids[-MAX_CHOICES:], token)
    if len(wabas) == 1:
        return wabas[0]
    choices = [WabaChoice(waba.waba_id, waba.name) for waba in wabas]
    async with transaction(context.pool) as conn:
        await waba_choices.save(conn, context.ring, onboarding.id, choices)
    raise ProofRefused("waba_choice_needed" if choices else "waba_not_granted")


async def _read_reachable(
    context: FollowUpContext, onboarding: Onboarding, waba_ids: Sequence[str], token: str
) -> list[Waba]:
    """Read those of the WABAs that the token reaches. Raise GraphError if that is not known."""
    readings = await asyncio.gather(
        *(_read_waba(context, onboarding, waba_id, token) for waba_id in waba_ids),
        return_exceptions=True,
    )
    for reading in readings:
        if isinstance(reading, BaseException) and not isinstance(reading, ProofRefused):
            raise reading
    return [reading for reading in readings if isinstance(reading, Waba)]


async def _read_waba(
    context: FollowUpContext, onboarding: Onboarding, waba_id: str, token: str
) -> Waba:
    """Read the WABA with the token. Raise ProofRefused."""
    try:
        return await context.graph.read_waba(waba_id, token, subject=str(onboarding.id))
    except MetaRefused as error:
        is_permission = error.reason == "permission_missing"
        raise ProofRefused(error.reason if is_permission else "waba_not_granted") from None
    except CustomerMustAct as error:
        raise ProofRefused(error.reason) from None


async def _ask_for_owner(context: FollowUpContext, waba_id: str, organization_id: str) -> None:
    """Ask Meta whether another organization that has proven the WABA still reaches it.

    If it does not, the customer unshared the WABA, and that webhook is still under way. Raise
    GraphError.
    """
    async with transaction(context.pool) as conn:
        era = await eras.open_era(conn, waba_id)
    if era is None or not ownership.stands_against(era, organization_id):
        return
    with suppress(Undecryptable):  # it is the other organization's token: its era stands
        await read_connection(context.pool, context.ring, context.graph, waba_id, is_contested=True)


async def _take_ownership(
    conn: Conn, onboarding: Onboarding, waba: Waba
) -> Reason | Literal["ended"] | None:
    """Make the onboarding's organization the owner of the WABA, and prepare a new setup.

    Return None, or the reason of the refusal: another organization has proven it before, or the
    onboarding's link was closed.
    """
    row = await connections.ensure_locked(conn, waba.waba_id)
    proving_organization = await ownership.record_proof(
        conn, row, onboarding, waba.owner_business_id, await now(conn)
    )
    if proving_organization is None:
        era = await eras.open_era(conn, waba.waba_id)
        is_anothers = era is not None and ownership.stands_against(era, onboarding.organization_id)
        return "owned_by_another" if is_anothers else ENDED
    # Read the onboarding again: the browser's message may have come meanwhile. Without a message,
    # what the organization requested counts.
    latest = await onboardings.by_id(conn, onboarding.id)
    event = latest.session_event if latest and latest.session_event in FINISHES else None
    is_coexistence = event == COEXISTENCE or (event is None and onboarding.is_coexistence)
    number = latest.session_phone_number_id if latest else None
    await connections.start_over(conn, waba.waba_id, Login(number, is_coexistence))
    await numbers.start_over(conn, waba.waba_id)
    # Close the old token's setup: what it waits for, such as a limit of 72 hours, must not delay
    # the new setup.
    await follow_ups.close(conn, ["provision"], waba.waba_id)
    return None


async def _refuse_proof(conn: Conn, onboarding: Onboarding, reason: Reason) -> None:
    """Delete the token, record the reason and add the event `refused`.

    The onboarding stays open: the customer may try again.
    """
    await codes.delete_token(conn, onboarding, reason=reason)
    if reason == "waba_not_granted":
        await sessions.forget_named(conn, onboarding)
    await events.add_for_onboarding(conn, "refused", onboarding, waba_id=None, reason=reason)


async def record_blocked_proof(conn: Conn, subject: str, reason: Reason) -> None:
    onboarding = await onboardings.by_subject(conn, subject)
    if onboarding is not None:
        await onboardings.set_reason(conn, onboarding, reason)
