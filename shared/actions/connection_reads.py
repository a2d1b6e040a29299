"""Reading at Meta how a connection stands, where webhooks told of its end: Meta's read decides."""

from datetime import UTC, datetime
from typing import Literal

from shared.actions.connection_state import record_facts
from shared.actions.follow_up_context import FollowUpContext, StepDone, StepOutcome
from shared.domain.facts import Fact
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.proof import TokenReport
from shared.store.connections import connections, follow_ups, tokens
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import transaction


async def read(context: FollowUpContext, one: FollowUp) -> StepOutcome:
    """Ask what the token still reaches; what it does is told as facts, what it does not stands."""
    outcome = await read_connection(context, one.subject)
    async with transaction(context.pool) as conn:
        await follow_ups.fence(conn, one)
        await follow_ups.end(conn, one)
    return StepDone(outcome)


async def read_connection(
    context: FollowUpContext, waba_id: str
) -> Literal["no_token", "alive", "gone"]:
    """The same for whoever wants to know now. Raises GraphError."""
    async with transaction(context.pool) as conn:
        token = await tokens.read(conn, context.ring, waba_id)
    if token is None:
        return "no_token"
    report = await context.graph.debug_token(token.text)
    is_alive = report.is_valid and report.app_id == context.graph.app_id
    found = await _read_reach(context, waba_id, token.text) if is_alive else []
    async with transaction(context.pool) as conn:
        await connections.lock(conn, [waba_id])
        await tokens.set_state(conn, waba_id, _verdict(report), token)
        await record_facts(conn, waba_id, found)
    return "alive" if found else "gone"


async def _read_reach(context: FollowUpContext, waba_id: str, token: str) -> list[Fact]:
    """A WABA that can be read is shared, and the token's app installed; one that still sends us its
    webhooks was not cut off. A number's link to its phone only Meta's webhooks tell."""
    try:
        await context.graph.read_waba(waba_id, token)
        if not await context.graph.is_subscribed(waba_id, token):
            return []
    except (MetaRefused, CustomerMustAct):
        return []
    at = datetime.now(UTC)
    return [Fact("shared", "shared", at), Fact("app", "installed", at)]


def _verdict(report: TokenReport) -> tokens.TokenState:
    if report.is_valid:
        return "valid"
    is_over = report.expires_at is not None and report.expires_at <= datetime.now(UTC)
    return "expired" if is_over else "revoked"
