"""Settings show no secret anywhere. Production refuses a placeholder for a secret."""

import traceback

import pytest

from shared.errors import StartupRefused
from shared.settings.console import ConsoleSettings
from shared.settings.ingress import IngressSettings
from shared.settings.load import load
from shared.settings.processor import ProcessorSettings
from tests.support.environment import BODY_KEY, service_environment

VALID = (
    service_environment(
        "postgresql://porteiro:canary-pg@db:5432/porteiro",  # pragma: allowlist secret
        "amqp://porteiro:canary-mq@broker:5672/%2F",  # pragma: allowlist secret
        "redis://:canary-rd@cache:6379/0",
    )
    | {
        "META_APP_SECRET": "canary-app-0123456789",  # pragma: allowlist secret
        "META_APP_SECRET_PREVIOUS": "canary-old-0123456789",  # pragma: allowlist secret
        "META_WEBHOOK_VERIFY_TOKEN": "canary-verify",
        "BODY_ENCRYPTION_KEYS_PREVIOUS": f"{BODY_KEY[32:]}{BODY_KEY[:32]}",
    }
)
SECRETS = sorted(set(VALID) - {"ENVIRONMENT", "HOST", "PORT", "HEALTH_PORT"})


@pytest.fixture(autouse=True)
def _valid_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in VALID.items():
        monkeypatch.setenv(name, value)


def test_settings_that_are_printed_show_no_secret() -> None:
    loaded = load(IngressSettings)

    shown = f"{loaded} {loaded!r} {loaded.model_dump()} {loaded.model_dump_json()}"

    assert "canary" not in shown
    assert BODY_KEY not in shown
    assert BODY_KEY[:32] not in shown


@pytest.mark.parametrize("name", SECRETS)
def test_a_refusal_shows_no_secret_nor_does_its_traceback(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "canary ,\N{SNOWMAN}")

    classes = (IngressSettings, ConsoleSettings, ProcessorSettings)
    service = next(each for each in classes if name.lower() in each.model_fields)
    with pytest.raises(StartupRefused) as raised:
        load(service)

    shown = "".join(traceback.format_exception(raised.value))
    assert name in shown
    assert "canary" not in shown
    assert "canary" not in str(raised.value.__context__)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("META_APP_SECRET", "your-app-secret-here"),
        ("META_APP_SECRET", "CHANGE_ME_CHANGE_ME_"),
        ("META_APP_SECRET", "example_app_secret_0001"),
        ("META_APP_SECRET", "xxxxxxxxxxxxxxxxxxxx"),
        ("META_APP_SECRET", "test-secret-of-my-app"),
        ("META_APP_SECRET_PREVIOUS", "3b1f0a94c2d85e67f1a2b3c4,dummydummydummydummy"),
        ("META_WEBHOOK_VERIFY_TOKEN", "placeholder"),
        (
            "DATABASE_URL",
            "postgresql://porteiro:changeme@db:5432/porteiro",  # pragma: allowlist secret
        ),  # pragma: allowlist secret
        ("RABBITMQ_URL", "amqp://porteiro:change-me@broker:5672/"),  # pragma: allowlist secret
    ],
)
def test_a_placeholder_is_refused_in_production_and_accepted_elsewhere(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, value)
    load(IngressSettings)

    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(StartupRefused) as raised:
        load(IngressSettings)

    assert raised.value.faults == [f"{name} is a placeholder: production needs the real value"]


def test_every_placeholder_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    monkeypatch.setenv("META_APP_SECRET", "change-me-change-me")
    monkeypatch.setenv("META_WEBHOOK_VERIFY_TOKEN", "change-me")

    with pytest.raises(StartupRefused) as raised:
        load(IngressSettings)

    assert len(raised.value.faults) == 2


def test_real_secrets_are_accepted_in_production(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")

    loaded = load(IngressSettings)

    assert loaded.meta_app_secret.get_secret_value() == VALID["META_APP_SECRET"]
    assert loaded.body_keys[0] == bytes.fromhex(BODY_KEY)
    assert len(loaded.body_keys) == 2


def test_production_does_not_crash_on_purpose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CRASH_AT", "group.stored")
    monkeypatch.setenv("ENVIRONMENT", "staging")
    assert load(IngressSettings).crash_at == "group.stored"

    monkeypatch.setenv("ENVIRONMENT", "production")
    with pytest.raises(StartupRefused) as raised:
        load(IngressSettings)
    assert raised.value.faults == ["CRASH_AT is set: production must not crash on purpose"]
