"""API keys: stored as hashes, shown once, revocable."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from uuid import UUID

from uuid_utils.compat import uuid7

from shared.store.pool import Conn

#: Makes a leaked key easy to recognise, for example by a secret scanner.
PREFIX = "porteiro_"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, without its text.

    `organization_id` is None for a key of the company: its requests name the organization.
    """

    id: UUID
    name: str
    organization_id: str | None
    created_at: datetime
    revoked_at: datetime | None


async def create(conn: Conn, name: str, organization_id: str | None) -> str:
    """Create a key and return its text, which is never stored. A key has 256 random bits, so its
    plain SHA-256 hash is safe to store."""
    key = PREFIX + secrets.token_urlsafe(32)
    await conn.execute(
        "INSERT INTO api_keys (id, name, organization_id, hash) VALUES ($1, $2, $3, $4)",
        uuid7(),
        name,
        organization_id,
        _hash(key),
    )
    return key


async def find(conn: Conn, key: str) -> ApiKey | None:
    """Return the API key with this text; None if there is none or it was revoked."""
    record = await conn.fetchrow(f"{_SELECT} WHERE hash = $1 AND revoked_at IS NULL", _hash(key))
    return None if record is None else ApiKey(**record)


async def listed(conn: Conn) -> Sequence[ApiKey]:
    return [ApiKey(**record) for record in await conn.fetch(f"{_SELECT} ORDER BY id")]


async def revoke(conn: Conn, key_id: UUID) -> bool:
    """Revoke a key. Return False if there is no such key or it was revoked before."""
    status = await conn.execute(
        "UPDATE api_keys SET revoked_at = now() WHERE id = $1 AND revoked_at IS NULL", key_id
    )
    return status == "UPDATE 1"


_SELECT = "SELECT id, name, organization_id, created_at, revoked_at FROM api_keys"


def _hash(key: str) -> bytes:
    return sha256(key.encode()).digest()
