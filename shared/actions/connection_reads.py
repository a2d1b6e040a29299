"""Read at Meta whether a connection is still alive. This corrects what webhooks said of its end."""

from datetime import UTC, datetime
from typing import Literal

from shared.actions.connection_state import record_facts
from shared.crypto import KeyRing
from shared.domain.facts import Fact
from shared.domain.graph_errors import CustomerMustAct, MetaRefused
from shared.domain.proof import TokenReport
from shared.graph.client import Graph
from shared.store.connections import connections, tokens
from shared.store.pool import Pool, transaction


async def read_connection(
    pool: Pool, ring: KeyRing, graph: Graph, waba_id: str
) -> Literal["no_token", "alive", "gone"]:
    """Ask Meta what the connection's token still reaches, and record it as facts.

    If the token reaches nothing, the recorded takedown stays. Raise GraphError.
    """
    async with transaction(pool) as conn:
        token = await tokens.read(conn, ring, waba_id)
    if token is None:
        return "no_token"
    report = await graph.debug_token(token.text)
    is_alive = report.is_valid and report.app_id == graph.app_id
    facts = await _read_reach(graph, waba_id, token.text) if is_alive else []
    async with transaction(pool) as conn:
        [row] = await connections.lock(conn, [waba_id])
        await tokens.set_state(conn, waba_id, _token_state(report), token)
        await record_facts(conn, row, facts)
    return "alive" if facts else "gone"


async def _read_reach(graph: Graph, waba_id: str, token: str) -> list[Fact]:
    """Return the facts `shared` and `app` if the token reads the WABA and our app is subscribed.

    Return nothing otherwise. A number's link to its phone is known from webhooks alone.
    """
    try:
        await graph.read_waba(waba_id, token)
        if not await graph.is_subscribed(waba_id, token):
            return []
    except (MetaRefused, CustomerMustAct):
        return []
    at = datetime.now(UTC)
    return [Fact("shared", "shared", at), Fact("app", "installed", at)]


def _token_state(report: TokenReport) -> tokens.TokenState:
    if report.is_valid:
        return "valid"
    is_expired = report.expires_at is not None and report.expires_at <= datetime.now(UTC)
    return "expired" if is_expired else "revoked"
