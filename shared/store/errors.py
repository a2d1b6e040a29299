"""Whose fault a failed transaction is: the servers', or what was being stored."""

import asyncpg

#: SQLSTATE classes and codes that say nothing against the rows: connection (08), resources (53),
#: operator intervention (57: shutdown, crash, statement timeout), system error (58), serialisation
#: failure, deadlock, lock timeout, idle-in-transaction timeout, read-only standby.
#: https://www.postgresql.org/docs/15/errcodes-appendix.html
_CLASSES = ("08", "53", "57", "58")
_CODES = ("40001", "40P01", "55P03", "25P03", "25006")


#: asyncpg raises InternalClientError when the server ends a connection under a statement.
_LOST = (asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)


def is_lock_timeout(error: BaseException) -> bool:
    """Whether somebody else's lock was in the way: of some rows, while others could go on. An
    infrastructure error too."""
    return isinstance(error, asyncpg.LockNotAvailableError)


def is_infrastructure(error: BaseException) -> bool:
    """Whether the same transaction may well succeed later, unchanged."""
    if isinstance(error, asyncpg.PostgresError):
        sqlstate = error.sqlstate or ""
        return sqlstate[:2] in _CLASSES or sqlstate in _CODES
    # A value asyncpg cannot encode is its DataError: an InterfaceError, and the row's own fault.
    return isinstance(error, _LOST) and not isinstance(error, ValueError)
