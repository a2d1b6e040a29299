"""Which URLs of our servers protect what is sent: by TLS, and a password for Redis."""

from collections.abc import Iterator
from urllib.parse import parse_qs, urlsplit

from shared.settings.groups import BrokerSettings, DatabaseSettings, RedisSettings, Settings

#: Options of the URL, by redis-py, that can turn verification off.
_REDIS_VERIFICATION = ("ssl_cert_reqs", "ssl_check_hostname")


def insecure_urls(settings: Settings) -> Iterator[str]:
    """Yield a fault for each URL that does not protect what is sent, unless INSECURE_SERVERS names
    its server."""
    trusted = settings.insecure_servers
    if isinstance(settings, DatabaseSettings) and "database" not in trusted:
        url = urlsplit(settings.database_url.get_secret_value())
        if parse_qs(url.query).get("sslmode") != ["verify-full"]:
            yield _fault("DATABASE_URL", "needs ?sslmode=verify-full", "database")
    if isinstance(settings, RedisSettings) and "redis" not in trusted:
        url = urlsplit(settings.redis_url.get_secret_value())
        is_verified = url.scheme == "rediss" and not _weakens(url.query, *_REDIS_VERIFICATION)
        if not is_verified and not url.password:
            yield _fault("REDIS_URL", "needs a password, or rediss://", "redis")
    if isinstance(settings, BrokerSettings) and "rabbitmq" not in trusted:
        url = urlsplit(settings.rabbitmq_url.get_secret_value())
        if url.scheme != "amqps" or _weakens(url.query, "no_verify_ssl"):
            yield _fault("RABBITMQ_URL", "needs amqps:// with verification", "rabbitmq")


def _weakens(query: str, *options: str) -> bool:
    """Return whether the query has an option that can turn verification off."""
    return any(name in options for name in parse_qs(query, keep_blank_values=True))


def _fault(name: str, need: str, server: str) -> str:
    return (
        f"{name} is insecure: production {need}; if the network between is trusted, set"
        f" INSECURE_SERVERS to a list with {server}"
    )
