"""Count what is sent by an onboarding's link: whoever has it cannot send for ever."""

from collections.abc import Mapping
from typing import Literal
from uuid import UUID

from shared.store.pool import Conn

Use = Literal["codes", "messages", "pins"]

#: How many an onboarding may have. A code costs a call to Meta, a PIN may cost one of the ten
#: registrations that a number has in 72 hours.
MOST: Mapping[Use, int] = {"codes": 10, "messages": 100, "pins": 10}


async def count(conn: Conn, onboarding_id: UUID, use: Use) -> bool:
    """Count one. Return False, and count nothing, if the onboarding had as many as it may have, or
    if its link's life is over."""
    status = await conn.execute(
        f"""
        UPDATE whatsapp_onboarding SET {use} = {use} + 1
        WHERE id = $1 AND {use} < $2 AND expires_at > now() AND state IN ('open', 'completed')
        """,
        onboarding_id,
        MOST[use],
    )
    return status == "UPDATE 1"
