"""Record what Meta's list of numbers says of their links to the WhatsApp Business app."""

from collections.abc import Sequence
from datetime import datetime

from shared.actions.connection_state import record_facts
from shared.domain.numbers import KnownNumber, PhoneNumber, link_told
from shared.store.connections.connections import ConnectionRow
from shared.store.pool import Conn


async def record_links(
    conn: Conn,
    row: ConnectionRow,
    known: Sequence[KnownNumber],
    listed: Sequence[PhoneNumber],
    at: datetime,
) -> None:
    """Record each link that is otherwise than it was `known`. `at` is when Meta was asked."""
    before = {number.digits: number for number in known}
    told = [link_told(before.get(number.digits), number, at) for number in listed]
    if found := [fact for fact in told if fact is not None]:
        await record_facts(conn, row, found)
