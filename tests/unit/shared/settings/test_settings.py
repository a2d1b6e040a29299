"""A refusal names every faulty variable at once, and what is expected. It shows no secret."""

from typing import Any

import pytest

from shared.errors import StartupRefused
from shared.settings.console import ConsoleSettings
from shared.settings.groups import DatabaseSettings, Environment, Settings, TopologySettings
from shared.settings.ingress import IngressSettings
from shared.settings.load import load
from shared.settings.processor import ProcessorSettings
from tests.support.environment import service_environment

VALID = service_environment(
    "postgresql://porteiro:canary-pg@db:5432/porteiro",  # pragma: allowlist secret
    "amqp://porteiro:canary-mq@broker:5672/%2F",  # pragma: allowlist secret
    "redis://:canary-rd@cache:6379/0",
)
#: Each variable, and the values it must not have.
WRONG_VALUES = {
    "DATABASE_URL": ["db:5432", "http://db/x", "postgresql:///x", "postgresql://db:port/x"],
    "RABBITMQ_URL": ["broker", "http://broker", "amqp://", "amqp://broker:port/"],
    "REDIS_URL": ["cache:6379", "amqp://cache", "redis://", "redis://cache:port/0"],
    "META_APP_SECRET": ["short", "has a space in its middle", "x" * 129, "ümlaut-ümlaut-ümlaut"],
    "META_APP_SECRET_PREVIOUS": ["short", ",", "3b1f0a94c2d85e67f1a2b3c4,"],
    "META_WEBHOOK_VERIFY_TOKEN": ["short", "has a space"],
    "BODY_ENCRYPTION_KEY": [
        "abcd",
        "zz" * 32,
        "00" * 32,
        "0123456789abcdef" * 4,
        bytes(range(32)).hex(),
        bytes(range(64, 0, -2)).hex(),
        f"{VALID['BODY_ENCRYPTION_KEY']}00",
    ],
    "BODY_ENCRYPTION_KEYS_PREVIOUS": ["abcd", f"{VALID['BODY_ENCRYPTION_KEY']},"],
    "TOKEN_ENCRYPTION_KEY": ["abcd", "00" * 32, "0123456789abcdef" * 4],
    "TOKEN_ENCRYPTION_KEYS_PREVIOUS": ["abcd"],
    "SUBJECT_HASH_KEY": ["abcd", "00" * 32, "0123456789abcdef" * 4],
    "SUBJECT_HASH_KEYS_PREVIOUS": ["abcd"],
    "META_APP_ID": ["x", "1" * 21],
    "META_CONFIG_ID": ["x"],
    "META_APP_ACCESS_TOKEN": ["short", "has a space"],
    "META_SYSTEM_USER_TOKEN": ["short", "has a space"],
    "META_GRAPH_URL": ["http://graph.facebook.com", "ftp://x", "graph.facebook.com"],
    "META_GRAPH_VERSION": ["25", "v25", "latest"],
    "META_DIALOG_URL": ["http://www.facebook.com", "https://www.facebook.com/dialog"],
    "META_SDK_URL": ["http://connect.facebook.net/sdk.js", "sdk.js"],
    "TRUSTED_PROXIES": ["anybody", "10.0.0.0/8,x"],
    "LIMIT_PER_ADDRESS": ["0", "many"],
    "LIMIT_PER_ORGANIZATION": ["0", "1.5"],
    "CONSOLE_URL": ["http://console.test", "https://console.test/path", "console.test"],
    "RETRY_SECONDS": ["", "soon", "30,20", "0,30", "30,30", "30;300", "1.5"],
    "ENVIRONMENT": ["prod", "Production "],
    "PORT": ["0", "65536", "http"],
    "HEALTH_PORT": ["0", "65536", "http"],
    "INSECURE_SERVERS": ["everything", "redis,"],
    "CRASH_AT": ["Group.Stored", "group.stored:0", "group.stored:1:TERM", "group.stored 1"],
}
CLASSES: list[type[Settings]] = [
    IngressSettings,
    ProcessorSettings,
    ConsoleSettings,
    DatabaseSettings,
    TopologySettings,
]
REQUIRED = [
    (settings, name.upper())
    for settings in CLASSES
    for name, field in settings.model_fields.items()
    if field.is_required()
]
MALFORMED = [
    (settings, name.upper(), value)
    for settings in CLASSES
    for name in settings.model_fields
    for value in WRONG_VALUES.get(name.upper(), [])
    if value
]


@pytest.fixture(autouse=True)
def _valid_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in WRONG_VALUES:
        monkeypatch.delenv(name, raising=False)
    for name, value in VALID.items():
        monkeypatch.setenv(name, value)


def refusal(settings: type[Settings]) -> StartupRefused:
    with pytest.raises(StartupRefused) as raised:
        load(settings)
    return raised.value


def expected(settings: type[Settings], name: str) -> str:
    return str(settings.model_fields[name.lower()].description)


@pytest.mark.parametrize("settings", CLASSES)
def test_a_valid_environment_is_accepted(settings: type[Settings]) -> None:
    assert load(settings).environment is Environment.LOCAL


@pytest.mark.parametrize("settings", CLASSES)
def test_every_variable_says_what_is_expected_of_it(settings: type[Settings]) -> None:
    assert all(field.description for field in settings.model_fields.values())
    tested = {"HOST", "NEXT_PUBLIC_META_APP_ID", "NEXT_PUBLIC_META_CONFIG_ID", *WRONG_VALUES}
    assert {name.upper() for name in settings.model_fields} <= tested


@pytest.mark.parametrize("value", [None, ""])
@pytest.mark.parametrize(("settings", "name"), REQUIRED)
def test_a_missing_variable_is_named_with_what_is_expected(
    settings: type[Settings], name: str, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(name)
    if value is not None:
        monkeypatch.setenv(name, value)

    assert refusal(settings).faults == [f"{name} is missing: expected {expected(settings, name)}"]


@pytest.mark.parametrize(("settings", "name", "value"), MALFORMED)
def test_a_malformed_variable_is_named_with_what_is_expected(
    settings: type[Settings], name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)

    [fault] = refusal(settings).faults

    assert fault == f"{name} is malformed: expected {expected(settings, name)}"


def test_all_faults_are_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "prod")
    monkeypatch.setenv("BODY_ENCRYPTION_KEY", "abcd")
    monkeypatch.delenv("META_APP_SECRET")
    monkeypatch.delenv("DATABASE_URL")

    refused = refusal(IngressSettings)

    assert [fault.split()[0] for fault in refused.faults] == [
        "BODY_ENCRYPTION_KEY",
        "DATABASE_URL",
        "ENVIRONMENT",
        "META_APP_SECRET",
    ]
    assert all(fault in str(refused) for fault in refused.faults)


def test_a_malformed_list_is_one_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BODY_ENCRYPTION_KEYS_PREVIOUS", "abcd,efgh,ijkl")

    assert len(refusal(IngressSettings).faults) == 1


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RETRY_SECONDS", "1, 20,300"),
        ("META_APP_SECRET_PREVIOUS", "3b1f0a94c2d85e67f1a2b3c4 , 4c2d85e67f1a2b3c43b1f0a9"),
    ],
)
def test_lists_are_written_with_commas(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings: type[Settings] = TopologySettings if name == "RETRY_SECONDS" else IngressSettings
    monkeypatch.setenv(name, value)

    loaded = getattr(load(settings), name.lower())

    plain = [str(getattr(item, "get_secret_value", lambda i=item: i)()) for item in loaded]
    assert plain == [part.strip() for part in value.split(",")]


def test_the_retry_delays_have_a_default() -> None:
    assert load(TopologySettings).retry_seconds == (30, 300, 1800)


def test_production_is_what_an_unset_environment_means(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVIRONMENT")

    assert load(DatabaseSettings).environment is Environment.PRODUCTION


def test_settings_cannot_be_changed() -> None:
    loaded: Any = load(DatabaseSettings)

    with pytest.raises(ValueError, match="frozen"):
        loaded.environment = Environment.PRODUCTION


@pytest.mark.parametrize("name", ["META_APP_ID", "META_CONFIG_ID"])
def test_an_id_may_be_set_under_its_public_name_and_must_not_differ(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    value = VALID[name]
    monkeypatch.setenv(f"NEXT_PUBLIC_{name}", value)
    assert getattr(load(ConsoleSettings), name.lower()) == value
    monkeypatch.delenv(name)
    assert getattr(load(ConsoleSettings), name.lower()) == value
    monkeypatch.setenv(name, "1")
    with pytest.raises(StartupRefused) as refused:
        load(ConsoleSettings)
    [fault] = refused.value.faults
    assert fault.startswith(f"{name} is malformed")
    assert f"NEXT_PUBLIC_{name} must be" in fault


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("META_GRAPH_URL", "https://graph.evil.test"),
        ("META_DIALOG_URL", "https://www.evil.test"),
        ("META_SDK_URL", "https://connect.evil.test/sdk.js"),
    ],
)
def test_production_accepts_only_metas_own_urls(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for url in ("META_GRAPH_URL", "META_DIALOG_URL", "META_SDK_URL"):
        monkeypatch.delenv(url)
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("CONSOLE_URL", "https://console.porteiro.io")
    assert load(ConsoleSettings).meta_graph_url == "https://graph.facebook.com"
    monkeypatch.setenv(name, value)
    with pytest.raises(StartupRefused) as refused:
        load(ConsoleSettings)
    assert [fault.split()[0] for fault in refused.value.faults] == [name]
