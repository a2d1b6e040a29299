"""The staging route accepts a short form from testers. Production does not have it."""

from pytest import MonkeyPatch

from services.ingress.app import PATH
from shared.broker.topology import RAW
from shared.domain.splitting import split
from shared.messages import decode_bundle
from tests.support import running
from tests.support.broker import Broker

FORM = {"type": "partner-added", "trackingCode": "test-123"}


async def test_the_short_form_becomes_a_webhook_with_its_tracking_code(
    environment: dict[str, str], broker: Broker
) -> None:
    async with running.ingress(environment) as client:
        async with client.post(f"{PATH}/test", json=FORM) as answer:
            assert answer.status == 200
    [webhook] = decode_bundle(await broker.take(RAW)).webhooks
    [change] = split(webhook.body, is_test=True)
    assert webhook.kind == "test"
    assert change.event == "PARTNER_ADDED"
    assert b'"tracking_code":"test-123"' in change.content


async def test_a_malformed_form_is_refused_with_the_reason(environment: dict[str, str]) -> None:
    async with running.ingress(environment) as client:
        async with client.post(f"{PATH}/test", json={"type": "partner-added"}) as answer:
            assert answer.status == 400
            assert "trackingCode" in (await answer.json())["error"]


async def test_an_address_is_limited_as_one_that_signs_wrongly(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMIT_PER_ADDRESS", "3")
    async with running.ingress(environment) as client:
        statuses = []
        for _ in range(5):
            async with client.post(f"{PATH}/test", json=FORM) as answer:
                statuses.append(answer.status)
        assert statuses == [200] * 3 + [429] * 2
        assert int(answer.headers["Retry-After"]) > 0


async def test_production_has_no_such_route(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.setenv("ENVIRONMENT", "production")
    async with running.ingress(environment) as client:
        async with client.post(f"{PATH}/test", json=FORM) as answer:
            assert answer.status == 404


async def test_an_unset_environment_has_no_such_route(
    environment: dict[str, str], monkeypatch: MonkeyPatch
) -> None:
    monkeypatch.delenv("ENVIRONMENT")
    async with running.ingress(environment) as client:
        async with client.post(f"{PATH}/test", json=FORM) as answer:
            assert answer.status == 404
