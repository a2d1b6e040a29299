"""Why a server cannot be used, in one word, by the error that its driver raised."""

import socket
import ssl
from collections.abc import Iterator
from typing import Literal

import aio_pika.exceptions
import asyncpg
import redis.exceptions

ServerFault = Literal[
    "read_only", "login_refused", "no_such_database", "malformed_url", "certificate_refused",
    "no_tls", "unknown_host", "no_answer", "nothing_listens", "starting", "full", "lost",
]  # fmt: skip

#: The first match counts: a special kind stands before the kinds it is of.
_KINDS: tuple[tuple[type[BaseException] | tuple[type[BaseException], ...], ServerFault], ...] = (
    (
        (
            asyncpg.TargetServerAttributeNotMatched,
            asyncpg.ReadOnlySQLTransactionError,
            redis.exceptions.ReadOnlyError,
        ),
        "read_only",
    ),
    (
        (
            asyncpg.InvalidAuthorizationSpecificationError,
            aio_pika.exceptions.ProbableAuthenticationError,
            redis.exceptions.AuthenticationError,
        ),
        "login_refused",
    ),
    (asyncpg.InvalidCatalogNameError, "no_such_database"),
    (asyncpg.ClientConfigurationError, "malformed_url"),
    (ssl.SSLError, "certificate_refused"),
    (socket.gaierror, "unknown_host"),
    (asyncpg.CannotConnectNowError, "starting"),
    (asyncpg.InsufficientResourcesError, "full"),
    (
        (
            TimeoutError,
            asyncpg.QueryCanceledError,
            asyncpg.LockNotAvailableError,
            redis.exceptions.TimeoutError,
        ),
        "no_answer",
    ),
    (ConnectionRefusedError, "nothing_listens"),
    (
        (
            asyncpg.PostgresConnectionError,
            asyncpg.OperatorInterventionError,
            asyncpg.InternalClientError,
            asyncpg.InterfaceError,
            aio_pika.exceptions.AMQPError,
            redis.exceptions.ConnectionError,
            OSError,
        ),
        "lost",
    ),
)
#: asyncpg's words for a server without TLS. It has no class of its own.
_NO_TLS = "rejected SSL upgrade"


def server_fault(error: BaseException | None) -> ServerFault | None:
    """Return why a server cannot be used; None if the error says nothing about a server."""
    found: ServerFault | None = None
    for cause in _chain(error):
        fault = next((fault for kinds, fault in _KINDS if isinstance(cause, kinds)), None)
        if isinstance(cause, ValueError) and fault == "lost":  # asyncpg's: a value of ours is wrong
            fault = None
        if fault == "lost" and _NO_TLS in str(cause):
            return "no_tls"
        found = fault if found in (None, "lost") and fault else found
    return found


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield the error and what it was raised from."""
    while error is not None:
        yield error
        error = error.__cause__
