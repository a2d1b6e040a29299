"""Transactions of a leased follow-up: none of them commits once the lease is lost."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from shared.store.connections import connections, follow_ups
from shared.store.connections.connections import ConnectionRow
from shared.store.connections.follow_ups import FollowUp
from shared.store.pool import Conn, Pool, transaction


@asynccontextmanager
async def fenced(pool: Pool, follow_up: FollowUp) -> AsyncIterator[tuple[Conn, ConnectionRow]]:
    """Open a transaction with the follow-up's connection locked, and then the follow-up itself.

    For follow-ups whose subject is a WABA. Raise LeaseLost.
    """
    async with transaction(pool) as conn:
        [row] = await connections.lock(conn, [follow_up.subject])
        await follow_ups.fence(conn, follow_up)
        yield conn, row


@asynccontextmanager
async def ending(pool: Pool, follow_up: FollowUp) -> AsyncIterator[Conn]:
    """Open a transaction at whose end the follow-up is done. Raise LeaseLost.

    The follow-up is locked last: who changes an onboarding locks the onboarding first.
    """
    async with transaction(pool) as conn:
        yield conn
        await follow_ups.fence(conn, follow_up)
        await follow_ups.end(conn, follow_up)
