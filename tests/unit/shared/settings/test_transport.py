"""Production refuses a URL that does not protect what is sent, unless its server is trusted."""

import pytest

from shared.errors import StartupRefused
from shared.settings.ingress import IngressSettings
from shared.settings.load import load
from tests.support.environment import service_environment

_DATABASE = "postgresql://porteiro:canary-pg@db/porteiro"  # pragma: allowlist secret
_BROKER = "porteiro:canary-mq@broker"
SECURE = {
    "DATABASE_URL": f"{_DATABASE}?sslmode=verify-full",
    "REDIS_URL": "rediss://cache:6379/0",
    "RABBITMQ_URL": f"amqps://{_BROKER}/%2F",
}


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in service_environment("", "", "").items():
        monkeypatch.setenv(name, value)
    for name, value in SECURE.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("INSECURE_SERVERS")
    monkeypatch.setenv("ENVIRONMENT", "production")


def test_secure_urls_are_accepted(monkeypatch: pytest.MonkeyPatch) -> None:
    load(IngressSettings)
    monkeypatch.setenv("REDIS_URL", "redis://:canary-rd@cache:6379/0")
    load(IngressSettings)


@pytest.mark.parametrize(
    ("name", "value", "server"),
    [
        ("DATABASE_URL", _DATABASE, "database"),
        *(
            ("DATABASE_URL", f"{_DATABASE}?sslmode={mode}", "database")
            for mode in ("disable", "allow", "prefer", "require", "verify-ca")
        ),
        ("DATABASE_URL", f"{_DATABASE}?sslmode=verify-full&sslmode=disable", "database"),
        ("REDIS_URL", "redis://cache:6379/0", "redis"),
        ("REDIS_URL", "redis://default@cache:6379/0", "redis"),
        ("REDIS_URL", "rediss://cache:6379/0?ssl_cert_reqs=none", "redis"),
        ("RABBITMQ_URL", f"amqp://{_BROKER}/", "rabbitmq"),
        ("RABBITMQ_URL", f"amqps://{_BROKER}/?no_verify_ssl=1", "rabbitmq"),
    ],
)
def test_an_insecure_url_is_refused_with_one_clear_line(
    name: str, value: str, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupRefused) as refused:
        load(IngressSettings)
    [fault] = refused.value.faults
    assert fault.startswith(f"{name} is insecure: production needs")
    assert fault.endswith(f"set INSECURE_SERVERS to a list with {server}")
    assert "canary" not in fault

    monkeypatch.setenv("INSECURE_SERVERS", server)
    load(IngressSettings)
    monkeypatch.delenv("INSECURE_SERVERS")
    monkeypatch.setenv("ENVIRONMENT", "staging")
    load(IngressSettings)


def test_the_exception_names_servers_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INSECURE_SERVERS", "everything")
    with pytest.raises(StartupRefused, match="INSECURE_SERVERS is malformed"):
        load(IngressSettings)
