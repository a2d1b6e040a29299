"""Rows that cannot be leased are left out, so that the query that leases goes on without them."""

import time
from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Generic, NamedTuple, Protocol, TypeVar
from uuid import UUID

import asyncpg
import structlog

from shared.errors import StartupRefused
from shared.store.pool import Conn, Pool, be_brief, transaction

log = structlog.get_logger()

#: How long a row is left out, twice as long each time.
REST_SECONDS = 5.0
MAX_REST_SECONDS = 600.0
#: How many rows are left out at most; those left out first are then tried again.
MAX_LEFT_OUT = 10_000
#: How long a search for the rows that fail may take. The next one goes on behind it.
SEARCH_SECONDS = 10.0

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

    A row is left out only if the same statement succeeded on another row: else the fault is the
    server's. `first_due` returns the row that `lease` with limit 1 would lease, or None.
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
        self._suspects: dict[UUID, Exception] = {}

    async def lease(self, pool: Pool) -> Rows:
        """Lease due rows; after a failure only one, the first that can be leased. Raise what keeps
        rows from being leased, if no row is to blame."""
        try:
            async with transaction(pool) as conn:
                return await self._lease(conn, left_out=self._left_out())
        except Exception as error:
            if not _is_perhaps_a_rows(error):
                raise
            return await self._lease_alone(pool, error)

    async def _lease_alone(self, pool: Pool, failure: Exception) -> Rows:
        """Try to lease due rows one at a time, until one is leased. Leave out those before it."""
        until = self._clock() + SEARCH_SECONDS
        while self._clock() < until:
            row_id = None
            try:
                async with transaction(pool) as conn:
                    await be_brief(conn)
                    left_out = [*self._left_out(), *self._suspects]
                    if (row_id := await self._first_due(conn, left_out)) is None:
                        self._suspects.clear()  # every row fails
                        raise failure
                    leased = await self._lease(conn, left_out=left_out, limit=1)
            except Exception as error:
                if row_id is None or not _is_perhaps_a_rows(error):
                    raise
                self._suspects[row_id] = error
            else:
                self._blame(self._suspects)
                return leased
        raise failure

    async def run_alone(self, pool: Pool, work: Mapping[UUID, Work]) -> None:
        """Run the work of each row in a transaction of its own. Leave out the rows that fail, if
        any succeeds."""
        failed: dict[UUID, Exception] = {}
        for row_id, run in work.items():
            try:
                async with transaction(pool) as conn:
                    await be_brief(conn)
                    await run(conn)
            except Exception as error:
                if not _is_perhaps_a_rows(error):
                    raise
                failed[row_id] = error
        if len(failed) < len(work):
            self._blame(failed)

    def _blame(self, failed: dict[UUID, Exception]) -> None:
        for row_id, error in failed.items():
            log.error("row.left_out", kind=self._kind, row_id=str(row_id), exc_info=error)
            before = self._rests.pop(row_id, None)
            seconds = REST_SECONDS if before is None else min(2 * before.seconds, MAX_REST_SECONDS)
            if len(self._rests) == MAX_LEFT_OUT:
                del self._rests[next(iter(self._rests))]
            self._rests[row_id] = Rest(seconds, self._clock() + seconds)
        failed.clear()

    def _left_out(self) -> list[UUID]:
        """Return the rows that rest now. Forget those that could have failed again, and did not."""
        now = self._clock()
        forgotten = now - 2 * MAX_REST_SECONDS
        self._rests = {id_: rest for id_, rest in self._rests.items() if rest.until > forgotten}
        return [row_id for row_id, rest in self._rests.items() if rest.until > now]


def _is_perhaps_a_rows(error: Exception) -> bool:
    """Return False for what no row can cause: the handle is lost, the server is read-only or full,
    or somebody else holds a lock (a locked row is skipped)."""
    if isinstance(error, StartupRefused | OSError | TimeoutError | asyncpg.InternalClientError):
        return False
    if isinstance(error, asyncpg.PostgresError):
        return not isinstance(
            error,
            asyncpg.PostgresConnectionError
            | asyncpg.ReadOnlySQLTransactionError
            | asyncpg.InsufficientResourcesError
            | asyncpg.LockNotAvailableError
            | asyncpg.DeadlockDetectedError,
        )
    # asyncpg raises DataError, a ValueError, for a value it cannot encode.
    return not isinstance(error, asyncpg.InterfaceError) or isinstance(error, ValueError)
