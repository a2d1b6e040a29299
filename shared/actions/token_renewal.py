"""Fetch a connection's token anew before it ends, or after it died, without the customer."""

from shared.actions.granted_token import fetch_granted_token
from shared.crypto import KeyRing
from shared.domain.graph_errors import GraphError
from shared.domain.token_health import lives_longer
from shared.graph.client import Graph
from shared.process.crash_points import crash_point
from shared.store.connections import connections, health, tokens
from shared.store.connections.health import CheckSubject
from shared.store.pool import Pool, transaction


async def renew_token(pool: Pool, ring: KeyRing, graph: Graph, subject: CheckSubject) -> bool:
    """Return whether a better token was fetched and stored.

    It is kept only if it lives longer, and if the stored token still is the one that was looked at:
    a newer one wins. The check that follows tells the company of the recovery.
    """
    if subject.owner_business_id is None:
        return False
    try:
        granted = await fetch_granted_token(
            graph,
            subject.waba_id,
            subject.owner_business_id,
            known=subject.token.text,
            can_wait=True,
        )
    except GraphError:
        return False
    if granted is None:
        return False
    ends = [granted.report.expires_at, granted.report.data_access_ends_at]
    if not lives_longer(subject.health, min(filter(None, ends), default=None)):
        return False
    crash_point("renewal.fetched")
    async with transaction(pool) as conn:
        await connections.lock(conn, [subject.waba_id])
        current = await health.load(conn, ring, subject.waba_id)
        if current is None or current.stored_at != subject.stored_at:
            return False
        await tokens.save(conn, ring, subject.waba_id, granted.text, granted.report)
    crash_point("renewal.stored")
    return True
