"""What the checks of connections found of their tokens."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.crypto import KeyRing
from shared.domain.token_health import TokenHealth, TokenState
from shared.store.connections.tokens import StoredToken, open_token
from shared.store.pool import Conn

#: How many of the last checked connections are looked at.
LAST_CHECKED = 10
#: For so long a doubt counts as a sign that Meta errs, so that no lasting one hides a death.
SUSPECT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class CheckSubject:
    """A connection that can be checked: its era is open, and it has a token."""

    waba_id: str
    organization_id: str
    owner_business_id: str | None
    is_suspended: bool
    token: StoredToken
    health: TokenHealth
    debugged_at: datetime | None

    @property
    def stored_at(self) -> datetime:
        """When its token was stored: another one has another time."""
        return self.token.at


async def load(conn: Conn, ring: KeyRing, waba_id: str) -> CheckSubject | None:
    """Return the connection, or None if there is nothing to check. May raise Undecryptable."""
    record = await conn.fetchrow(
        """
        SELECT connection_eras.organization_id, owner_business_id,
               suspended_at IS NOT NULL AS is_suspended, token, token_at, token_state, token_reason,
               token_doubt, token_bad_since, token_told, token_expires_at, data_access_expires_at,
               token_debugged_at
        FROM whatsapp_connections JOIN connection_eras USING (waba_id)
        WHERE waba_id = $1 AND ended_at IS NULL AND token IS NOT NULL
        """,
        waba_id,
    )
    if record is None:
        return None
    return CheckSubject(
        waba_id,
        record["organization_id"],
        record["owner_business_id"],
        record["is_suspended"],
        StoredToken(open_token(ring, waba_id, record["token"]), record["token_at"]),
        TokenHealth(
            state=record["token_state"],
            reason=record["token_reason"],
            doubt=record["token_doubt"],
            bad_since=record["token_bad_since"],
            told=record["token_told"],
            expires_at=record["token_expires_at"],
            data_access_ends_at=record["data_access_expires_at"],
        ),
        record["token_debugged_at"],
    )


async def save(
    conn: Conn, waba_id: str, health: TokenHealth, *, is_answered: bool, is_debugged: bool
) -> None:
    """Store what a check found of the locked connection's token, and that Meta was asked now."""
    await conn.execute(
        """
        UPDATE whatsapp_connections
        SET token_state = $2, token_reason = $3, token_doubt = $4, token_bad_since = $5,
            token_told = $6, token_expires_at = $7, data_access_expires_at = $8,
            token_checked_at = CASE WHEN $9 THEN now() ELSE token_checked_at END,
            token_debugged_at = CASE WHEN $10 THEN now() ELSE token_debugged_at END
        WHERE waba_id = $1
        """,
        waba_id,
        health.state,
        health.reason,
        health.doubt,
        health.bad_since,
        health.told,
        health.expires_at,
        health.data_access_ends_at,
        is_answered,
        is_debugged,
    )


@dataclass(frozen=True, slots=True)
class RecentChecks:
    """Connections asked about within the hour, how many of them turned bad within it or are in
    doubt since yesterday at most, and whether each of the last ones did."""

    checked: int
    bad: int
    last_bad: Sequence[bool]


async def recent_checks(conn: Conn, left_out: str = "") -> RecentChecks:
    """Return how the checks of connections other than `left_out` went."""
    is_bad = """
        coalesce(token_bad_since > now() - CASE WHEN token_doubt IS NULL THEN interval '1 hour'
                                                ELSE $2::interval END, false)
    """
    record = await conn.fetchrow(
        f"""
        SELECT count(*) AS checked, count(*) FILTER (WHERE {is_bad}) AS bad
        FROM whatsapp_connections
        WHERE token_at IS NOT NULL AND token_checked_at > now() - interval '1 hour'
            AND waba_id <> $1
        """,
        left_out,
        SUSPECT,
    )
    last = await conn.fetch(
        f"""
        SELECT {is_bad} AS is_bad FROM whatsapp_connections
        WHERE token_at IS NOT NULL AND token_checked_at IS NOT NULL AND waba_id <> $1
        ORDER BY token_checked_at DESC LIMIT $3
        """,
        left_out,
        SUSPECT,
        LAST_CHECKED - 1 if left_out else LAST_CHECKED,
    )
    counts = record or {"checked": 0, "bad": 0}
    return RecentChecks(counts["checked"], counts["bad"], [row["is_bad"] for row in last])


@dataclass(frozen=True, slots=True)
class HealthCounts:
    """Connections with a token by its state and by the days it has left (-1: it never ends), and
    when the longest unasked one was asked about; None if one never was or there is none."""

    by_state: Mapping[TokenState, int]
    by_days_left: Mapping[int, int]
    oldest_check_at: datetime | None


#: Days left, as the gauges show them: at most so many.
DAYS_LEFT = (1, 3, 7, 14, 60)
MORE, NEVER = 61, -1


async def count(conn: Conn) -> HealthCounts:
    """Count from an index alone."""
    records = await conn.fetch(
        """
        SELECT token_state, count(*) AS count, min(token_checked_at) AS oldest,
               width_bucket(token_expires_at, ARRAY(SELECT now() + days * interval '1 day'
                                                    FROM unnest($1::int[]) AS days)) AS bucket
        FROM whatsapp_connections WHERE token_at IS NOT NULL GROUP BY token_state, bucket
        """,
        list(DAYS_LEFT),
    )
    by_state: dict[TokenState, int] = {}
    by_days: dict[int, int] = {}
    for record in records:
        bucket = record["bucket"]
        days = NEVER if bucket is None else (*DAYS_LEFT, MORE)[bucket]
        by_state[record["token_state"]] = by_state.get(record["token_state"], 0) + record["count"]
        by_days[days] = by_days.get(days, 0) + record["count"]
    oldest = [record["oldest"] for record in records if record["oldest"] is not None]
    return HealthCounts(by_state, by_days, min(oldest, default=None))


async def count_unasked(conn: Conn, since: timedelta) -> int:
    """Return about how many connections Meta has given no answer for longer than `since`."""
    unasked: int = await conn.fetchval(
        """
        SELECT count(*) FROM whatsapp_connections
        WHERE token_at < now() - $1::interval AND next_check_at IS NOT NULL
            AND (token_checked_at IS NULL OR token_checked_at < now() - $1::interval)
        """,
        since,
    )
    return unasked
