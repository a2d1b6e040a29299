"""The fault of a server is told by what its driver raised, whatever wraps it."""

import ssl

import aio_pika.exceptions
import asyncpg
import pytest
import redis.exceptions

from shared.process.server_faults import server_fault
from shared.store.errors import NotConnected


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (asyncpg.TargetServerAttributeNotMatched("no server is read-write"), "read_only"),
        (asyncpg.ReadOnlySQLTransactionError("cannot execute INSERT"), "read_only"),
        (asyncpg.InvalidPasswordError("refused"), "login_refused"),
        (aio_pika.exceptions.ProbableAuthenticationError("refused"), "login_refused"),
        (asyncpg.InvalidCatalogNameError("none"), "no_such_database"),
        (asyncpg.ClientConfigurationError("sslmode"), "malformed_url"),
        (ssl.SSLCertVerificationError("self-signed"), "certificate_refused"),
        (ConnectionError("PostgreSQL server at x rejected SSL upgrade"), "no_tls"),
        (TimeoutError(), "no_answer"),
        (redis.exceptions.TimeoutError(), "no_answer"),
        (ConnectionRefusedError(), "nothing_listens"),
        (asyncpg.DiskFullError("no space"), "full"),
        (asyncpg.ConnectionDoesNotExistError("closed"), "lost"),
        (aio_pika.exceptions.AMQPConnectionError("closed"), "lost"),
        (asyncpg.UniqueViolationError("twice"), None),
        (ValueError("ours"), None),
    ],
)
def test_each_error_is_named(error: Exception, fault: str | None) -> None:
    assert server_fault(error) == fault
    wrapped = NotConnected("it")
    wrapped.__cause__ = error
    assert server_fault(wrapped) == (fault or "lost")
