"""Connections and orphans as the API and the CLI show them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from shared.domain.attribution import ERA_BASES
from shared.domain.facts import State
from shared.domain.remedies import Remedy, remedy
from shared.domain.token_health import TokenState
from shared.store.pool import Conn

_TOKEN_REASONS = {"expired": "reconnect", "revoked": "reconnect", "unknown": "undecryptable"}


#: What an active connection waits for concerns another of its numbers.
_OF_OTHER_NUMBERS = ("numbers_wait", "awaiting_webhook")


@dataclass(frozen=True, slots=True)
class ConnectionView:
    """A connection. `waits_for` is the reason why its follow-up is blocked or put off.
    `next_attempt_at` is when the follow-up is attempted again; None if it is blocked."""

    waba_id: str
    organization_id: str | None
    attribution: str
    state: State
    reason: str | None
    has_token: bool
    token_state: TokenState
    token_expires_at: datetime | None
    token_checked_at: datetime | None
    token_reason: str | None
    token_doubt: str | None
    next_check_at: datetime | None
    owner_business_id: str | None
    owned_since: datetime | None
    is_coexistence: bool
    left_behind: Sequence[str]
    waits_for: str | None
    next_attempt_at: datetime | None

    @property
    def is_provisional(self) -> bool:
        """Whether its owner, if it has one, may only see how it stands."""
        return self.attribution not in ERA_BASES

    @property
    def goes_on_at(self) -> datetime | None:
        """Return when the failed work is attempted again without a person; None if it is not."""
        return self.next_attempt_at if self.why == self.waits_for else None

    @property
    def remedy(self) -> Remedy | None:
        return remedy(self.why, goes_on=self.goes_on_at is not None)

    @property
    def why(self) -> str | None:
        """Return the reason why it does not work, in one word; None if it works."""
        is_in_doubt = self.waits_for == "owner_doubted"  # whether the takedown is true
        if is_in_doubt or (self.state == "provisioning" and self.next_attempt_at is not None):
            return self.waits_for
        if self.state == "active" and self.token_state in _TOKEN_REASONS:
            return self.token_reason or _TOKEN_REASONS[self.token_state]
        is_fine = self.state == "active" and self.waits_for in _OF_OTHER_NUMBERS
        reason = self.reason or (None if is_fine else self.waits_for)
        if self.state == "provisioning" and not self.has_token:
            return reason or "no_token"
        return reason


@dataclass(frozen=True, slots=True)
class Orphan:
    """A WABA that is shared with us and has no owner. `waiting_changes` counts its changes without
    an owner, up to MAX_COUNTED. `candidates` are the organizations that own its owner business."""

    waba_id: str
    state: State
    attribution: str
    owner_business_id: str | None
    since: datetime
    waiting_changes: int
    candidates: Sequence[str]


#: Waiting changes are counted up to this number.
MAX_COUNTED = 1000

_SELECT = """
    SELECT waba_id, organization_id, attribution, state, reason,
           token IS NOT NULL AS has_token,
           CASE WHEN token_state IN ('valid', 'expiring') AND token_expires_at <= now()
                THEN 'expired' ELSE token_state::text END AS token_state,
           token_expires_at, token_checked_at, token_reason, token_doubt, next_check_at,
           owner_business_id, owned_since, is_coexistence,
           left_behind, waits_for, next_attempt_at
    FROM whatsapp_connections LEFT JOIN LATERAL (
        SELECT follow_ups.reason AS waits_for,
               CASE WHEN follow_ups.state = 'pending' THEN due_at END AS next_attempt_at
        FROM follow_ups
        WHERE subject = waba_id AND follow_ups.state <> 'done'
            AND kind IN ('provision', 'read', 'disconnect') AND follow_ups.reason IS NOT NULL
        ORDER BY follow_ups.reason = 'owner_doubted' DESC, kind LIMIT 1
    ) AS waiting ON true
"""


async def connections(
    conn: Conn,
    *,
    organization_id: str | None,
    state: str | None = None,
    after: str = "",
    limit: int = 100,
) -> list[ConnectionView]:
    """Return the organization's connections after `after`, in the order of their WABA ids.

    If `organization_id` is None, return the connections of all organizations.
    """
    records = await conn.fetch(
        f"""
        {_SELECT}
        WHERE organization_id IS NOT NULL AND ($1::text IS NULL OR organization_id = $1)
            AND ($2::text IS NULL OR state::text = $2) AND waba_id > $3
        ORDER BY waba_id LIMIT $4
        """,
        organization_id,
        state,
        after,
        limit,
    )
    return [ConnectionView(**record) for record in records]


async def connection(
    conn: Conn, waba_id: str, *, organization_id: str | None
) -> ConnectionView | None:
    """Return the connection if the organization owns it, else None. If `organization_id` is None,
    return the connection whether or not it has an owner."""
    record = await conn.fetchrow(
        f"{_SELECT} WHERE waba_id = $1 AND ($2::text IS NULL OR organization_id = $2)",
        waba_id,
        organization_id,
    )
    return None if record is None else ConnectionView(**record)


async def orphans(conn: Conn, *, after: str = "", limit: int = 100) -> list[Orphan]:
    """Return the orphans after `after`, in the order of their WABA ids."""
    records = await conn.fetch(
        """
        SELECT waba_id, state, attribution, owner_business_id, created_at AS since,
               (SELECT count(*) FROM (
                   SELECT FROM webhook_changes
                   WHERE webhook_changes.waba_id = whatsapp_connections.waba_id
                       AND webhook_changes.organization_id IS NULL
                   LIMIT $3
               ) AS waiting) AS waiting_changes,
               ARRAY(SELECT business_owners.organization_id FROM business_owners
                     WHERE business_id = owner_business_id ORDER BY 1) AS candidates
        FROM whatsapp_connections
        WHERE organization_id IS NULL AND waba_id > $1
        ORDER BY waba_id LIMIT $2
        """,
        after,
        limit,
        MAX_COUNTED,
    )
    return [Orphan(**record) for record in records]
