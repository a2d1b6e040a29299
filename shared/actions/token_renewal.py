"""Fetch a connection's token anew before it ends, or after it died, without the customer."""

import hmac

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

    It is kept only if Meta says that it is valid, ours and lives longer, if it reaches the WABA,
    and if the stored token still is the one that was looked at: a newer one wins. The check that
    follows tells the company of the recovery.
    """
    if subject.owner_business_id is None:
        return False
    try:
        fetched = await graph.fetch_token(subject.owner_business_id, subject=subject.waba_id)
        if hmac.compare_digest(fetched.text.encode(), subject.token.text.encode()):
            return False
        report = await graph.debug_token(fetched.text, subject=subject.waba_id, can_wait=True)
        await graph.read_waba(subject.waba_id, fetched.text)
    except GraphError:
        return False
    expires_at = report.expires_at or fetched.expires_at
    ends = [at for at in (expires_at, report.data_access_ends_at) if at is not None]
    is_ours = report.is_valid and report.app_id == graph.app_id
    if not is_ours or not lives_longer(subject.health, min(ends, default=None)):
        return False
    crash_point("renewal.fetched")
    async with transaction(pool) as conn:
        await connections.lock(conn, [subject.waba_id])
        current = await health.load(conn, ring, subject.waba_id)
        if current is None or current.stored_at != subject.stored_at:
            return False
        await tokens.save(
            conn,
            ring,
            subject.waba_id,
            fetched.text,
            expires_at=expires_at,
            user_id=report.user_id,
            data_access_ends_at=report.data_access_ends_at,
        )
    crash_point("renewal.stored")
    return True
