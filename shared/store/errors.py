"""Tell whether a failed transaction is an infrastructure error or the fault of its rows.

It decides what counts as an attempt, and nothing else: whatever is raised isolates its rows.
"""

import asyncpg

#: SQLSTATE classes and codes of infrastructure errors: connection (08), resources (53), operator
#: intervention (57: shutdown, crash, statement timeout), system error (58), serialisation failure,
#: deadlock, lock timeout, idle-in-transaction timeout, read-only server, a statement that a pooler
#: does not know (26), a schema that was migrated under a cached statement (0A000, by asyncpg), an
#: internal error (XX).
#: https://www.postgresql.org/docs/15/errcodes-appendix.html
_SQLSTATE_CLASSES = ("08", "26", "53", "57", "58", "XX")
_SQLSTATES = ("40001", "40P01", "55P03", "25P03", "25006")


#: asyncpg raises InternalClientError when the server closes a connection during a statement.
_CONNECTION_ERRORS = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


class NotConnected(ConnectionError):
    """There is no handle: PostgreSQL is away, read-only or refuses us, or all handles are busy.

    Whatever was to be done has not begun.
    """


def is_infrastructure(error: BaseException) -> bool:
    """Return whether the same transaction, unchanged, may succeed later."""
    if isinstance(error, asyncpg.InvalidCachedStatementError):
        return True
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        return sqlstate[:2] in _SQLSTATE_CLASSES or sqlstate in _SQLSTATES
    # asyncpg raises DataError for a value it cannot encode. That is an InterfaceError and a
    # ValueError, and the row's own fault.
    return isinstance(error, _CONNECTION_ERRORS) and not isinstance(error, ValueError)
