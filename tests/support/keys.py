"""API keys, the key ring of tokens, and who requests changes."""

from collections.abc import Collection

from shared.crypto import KeyRing, SubjectHasher
from shared.store import api_keys
from shared.store.api_keys import USUAL_RIGHTS, Right
from shared.store.audit import Requester
from shared.store.pool import Conn
from tests.support.environment import SUBJECT_KEY, TOKEN_KEY

#: Seals tokens and tracking codes, as the services in tests do.
TOKEN_RING = KeyRing([bytes.fromhex(TOKEN_KEY)])
#: Hashes people, as the processor in tests does.
HASHER = SubjectHasher([bytes.fromhex(SUBJECT_KEY)])
OPERATOR = Requester("eva", "a test")


async def make_key(
    conn: Conn,
    organization_id: str | None = None,
    name: str = "test",
    rights: Collection[Right] = USUAL_RIGHTS,
) -> str:
    """Return the text of a new key that does not expire. Leave nothing in the audit log."""
    key = await api_keys.create(
        conn, name, organization_id, expires_at=None, rights=rights, requester=OPERATOR
    )
    await conn.execute("DELETE FROM audit_log WHERE action = 'api_key.created'")
    return key
