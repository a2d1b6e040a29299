"""Rows that cannot be leased are left out, so that the query that leases goes on without them."""

import time
from collections.abc import Awaitable, Callable, Collection
from contextlib import suppress
from typing import Generic, Protocol, TypeVar
from uuid import UUID

import structlog

from shared.errors import StartupRefused
from shared.store.errors import NotConnected
from shared.store.pool import Conn, Pool, be_brief, transaction

log = structlog.get_logger()

#: How long a row is left out. Then it is tried again, since its fault may have been mended.
LEFT_OUT_SECONDS = 600.0
#: How many rows are left out at most; those left out first are then tried again.
MAX_LEFT_OUT = 1000
#: How many rows are tried alone in one search.
MAX_TRIED = 200


Rows = TypeVar("Rows")
Leased_co = TypeVar("Leased_co", covariant=True)


class Lease(Protocol[Leased_co]):
    """Lease due rows that are not in `left_out`, at most `limit` of them if it is given."""

    async def __call__(
        self, conn: Conn, *, left_out: Collection[UUID], limit: int | None = None
    ) -> Leased_co: ...


class Quarantine(Generic[Rows]):
    """Lease due rows, without the rows on which the lease fails. The log names each of those.

    `first_due` returns the row that `lease` with limit 1 would lease, or None.
    """

    def __init__(
        self,
        kind: str,
        lease: Lease[Rows],
        first_due: Callable[[Conn, Collection[UUID]], Awaitable[UUID | None]],
    ) -> None:
        self._kind = kind
        self._lease = lease
        self._first_due = first_due
        self._left_out: dict[UUID, float] = {}

    async def lease(self, pool: Pool) -> Rows:
        """Lease due rows. Raise what keeps rows from being leased, if no row is to blame."""
        try:
            return await self._lease_together(pool)
        except (NotConnected, StartupRefused):
            raise
        except Exception:
            if not await self._find_failing(pool):
                raise
        return await self._lease_together(pool)

    def leave_out(self, row_id: UUID, error: Exception) -> None:
        """Lease this row no more for LEFT_OUT_SECONDS."""
        log.error("row.left_out", kind=self._kind, row_id=str(row_id), exc_info=error)
        if len(self._left_out) == MAX_LEFT_OUT:
            del self._left_out[next(iter(self._left_out))]
        self._left_out[row_id] = time.monotonic() + LEFT_OUT_SECONDS

    def _ids(self) -> Collection[UUID]:
        now = time.monotonic()
        self._left_out = {row_id: until for row_id, until in self._left_out.items() if until > now}
        return list(self._left_out)

    async def _lease_together(self, pool: Pool) -> Rows:
        async with transaction(pool) as conn:
            return await self._lease(conn, left_out=self._ids())

    async def _find_failing(self, pool: Pool) -> bool:
        """Lease due rows one at a time, and leave out those that fail. Nothing stays leased."""
        is_any_failing = False
        async with transaction(pool) as conn:
            await be_brief(conn)
            with suppress(_RolledBack):
                async with conn.transaction():
                    for _ in range(MAX_TRIED):
                        row_id = await self._first_due(conn, self._ids())
                        if row_id is None:
                            break
                        try:
                            async with conn.transaction():
                                await self._lease(conn, left_out=self._ids(), limit=1)
                        except Exception as error:
                            if conn.is_closed():
                                raise
                            self.leave_out(row_id, error)
                            is_any_failing = True
                    raise _RolledBack
        return is_any_failing


class _RolledBack(Exception):
    """Ends a transaction that must leave nothing."""
