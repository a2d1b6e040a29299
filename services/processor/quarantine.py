"""Rows that cannot be leased are left out, so that the query that leases goes on without them."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from contextlib import suppress
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import asyncpg
import structlog

from shared.errors import StartupRefused
from shared.store.errors import NotConnected
from shared.store.pool import Conn, Pool, be_brief, transaction

log = structlog.get_logger()

#: How long a row is left out, twice as long each time. It may have been locked only.
REST_SECONDS = 5.0
MAX_REST_SECONDS = 600.0
#: How many rows are left out at most; those left out first are then tried again.
MAX_LEFT_OUT = 1000
#: How many rows are tried alone in one search.
MAX_TRIED = 200


Rows = TypeVar("Rows")
Work = Callable[[Conn], Awaitable[None]]
Leased_co = TypeVar("Leased_co", covariant=True)


class LeaseQuery(Protocol[Leased_co]):
    """Lease due rows that are not in `left_out`, at most `limit` of them if it is given."""

    async def __call__(
        self, conn: Conn, *, left_out: Collection[UUID], limit: int | None = None
    ) -> Leased_co: ...


class Rest(NamedTuple):
    """A row is left out for `seconds`, until `until` by the monotonic clock."""

    seconds: float
    until: float


class Quarantine(Generic[Rows]):
    """Lease due rows, without the rows on which a statement failed. The log names each of those.

    `first_due` returns the row that `lease` with limit 1 would lease, or None.
    """

    def __init__(
        self,
        kind: str,
        lease: LeaseQuery[Rows],
        first_due: Callable[[Conn, Collection[UUID]], Awaitable[UUID | None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock = clock
        self._kind = kind
        self._lease = lease
        self._first_due = first_due
        self._rests: dict[UUID, Rest] = {}

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

    async def run_alone(self, pool: Pool, work: Mapping[UUID, Work]) -> None:
        """Run the work of each row, and commit what succeeds. Leave out the rows that fail."""
        async with transaction(pool) as conn:
            await be_brief(conn)
            for row_id, run in work.items():
                await self._succeeds(conn, row_id, run)

    async def _succeeds(self, conn: Conn, row_id: UUID, run: Work) -> bool:
        """Run the work of one row in a savepoint. Raise if the server is to blame."""
        try:
            async with conn.transaction():
                await run(conn)
        except Exception as error:
            if conn.is_closed() or isinstance(error, asyncpg.ReadOnlySQLTransactionError):
                raise
            self._leave_out(row_id, error)
            return False
        return True

    def _leave_out(self, row_id: UUID, error: Exception) -> None:
        log.error("row.left_out", kind=self._kind, row_id=str(row_id), exc_info=error)
        before = self._rests.pop(row_id, None)
        seconds = REST_SECONDS if before is None else min(2 * before.seconds, MAX_REST_SECONDS)
        if len(self._rests) == MAX_LEFT_OUT:
            del self._rests[next(iter(self._rests))]
        self._rests[row_id] = Rest(seconds, self._clock() + seconds)

    def _left_out(self) -> list[UUID]:
        """Return the rows that rest now. Forget those that could have failed again, and did not."""
        now = self._clock()
        forgotten = now - 2 * MAX_REST_SECONDS
        self._rests = {id_: rest for id_, rest in self._rests.items() if rest.until > forgotten}
        return [row_id for row_id, rest in self._rests.items() if rest.until > now]

    async def _lease_together(self, pool: Pool) -> Rows:
        async with transaction(pool) as conn:
            return await self._lease(conn, left_out=self._left_out())

    async def _find_failing(self, pool: Pool) -> bool:
        """Lease due rows one at a time, and leave out those that fail. Nothing stays leased."""

        async def lease_one(conn: Conn) -> None:
            await self._lease(conn, left_out=self._left_out(), limit=1)

        is_any_failing = False
        async with transaction(pool) as conn:
            await be_brief(conn)
            with suppress(_RolledBack):
                async with conn.transaction():
                    for _ in range(MAX_TRIED):
                        row_id = await self._first_due(conn, self._left_out())
                        if row_id is None:
                            break
                        if not await self._succeeds(conn, row_id, lease_one):
                            is_any_failing = True
                    raise _RolledBack
        return is_any_failing


class _RolledBack(Exception):
    """Ends a transaction that must leave nothing."""
