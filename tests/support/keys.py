"""Make API keys."""

from shared.store import api_keys
from shared.store.pool import Conn


async def make_key(conn: Conn, organization_id: str | None = None, name: str = "test") -> str:
    """Return the text of a new key that does not expire. Leave nothing in the audit log."""
    key = await api_keys.create(
        conn, name, organization_id, expires_at=None, actor="test", reason="a test"
    )
    await conn.execute("DELETE FROM audit_log WHERE action = 'api_key.created'")
    return key
