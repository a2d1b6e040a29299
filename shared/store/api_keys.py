"""API keys: stored as hashes, shown once; they expire and can be revoked."""

import secrets
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from hashlib import sha256
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.store import audit
from shared.store.audit import Requester
from shared.store.pool import Conn

#: Makes a leaked key easy to recognise, for example by a secret scanner.
PREFIX = "porteiro_"


class Right(StrEnum):
    """What a key may do. `token`: take the tokens of customers; only a key of the company that was
    made with this right."""

    READ = "read"
    CHANGE = "change"
    TOKEN = "token"  # noqa: S105  # the name of a right


#: The rights of a key unless others are given.
USUAL_RIGHTS = (Right.READ, Right.CHANGE)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its text.

    `organization_id` is None for a key of the company: its requests name the organization.
    """

    id: UUID
    name: str
    organization_id: str | None
    rights: Sequence[Right]
    created_at: datetime
    expires_at: datetime | None
    last_used_on: date | None
    revoked_at: datetime | None


async def create(
    conn: Conn,
    name: str,
    organization_id: str | None,
    *,
    expires_at: datetime | None,
    rights: Collection[Right],
    requester: Requester,
) -> str:
    """Create a key and return its text, which is never stored. Write an audit record.

    A key has 256 random bits, so its plain SHA-256 hash is safe to store. With `expires_at` None it
    works until it is revoked.
    """
    key, key_id = PREFIX + secrets.token_urlsafe(32), uuid7()
    await conn.execute(
        """
        INSERT INTO api_keys (id, name, organization_id, hash, expires_at, rights)
        VALUES ($1, $2, $3, $4, $5, $6)
        """,
        key_id,
        name,
        organization_id,
        _hash(key),
        expires_at,
        sorted(rights),
    )
    subject = f"{key_id} for {organization_id or 'the company'}, may {', '.join(sorted(rights))}"
    await audit.add(conn, requester, action="api_key.created", subject=subject)
    return key


async def use(conn: Conn, key: str) -> ApiKey | None:
    """Return the API key with this text, and note the day. None if no such key works now."""
    record = await conn.fetchrow(
        f"{_SELECT} WHERE hash = $1 AND revoked_at IS NULL"
        " AND (expires_at IS NULL OR expires_at > now())",
        _hash(key),
    )
    if record is None:
        return None
    if record["last_used_on"] != datetime.now(UTC).date():  # a write once a day, not a request
        await conn.execute(
            """
            UPDATE api_keys SET last_used_on = current_date
            WHERE id = $1 AND last_used_on IS DISTINCT FROM current_date
            """,
            record["id"],
        )
    return ApiKey(**record)


async def listed(conn: Conn) -> Sequence[ApiKey]:
    return [ApiKey(**record) for record in await conn.fetch(f"{_SELECT} ORDER BY id")]


async def revoke(conn: Conn, key_id: UUID, requester: Requester) -> bool:
    """Revoke a key and write an audit record. Return False if there is no such key or it was
    revoked before."""
    status = await conn.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", key_id
    )
    if status != "UPDATE 1":
        return False
    await audit.add(conn, requester, action="api_key.revoked", subject=str(key_id))
    return True


_SELECT = """
    SELECT id, name, organization_id, rights, created_at, expires_at, last_used_on, revoked_at
    FROM api_keys
"""


def _hash(key: str) -> bytes:
    return sha256(key.encode()).digest()
