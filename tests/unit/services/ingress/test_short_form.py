"""The short form that testers post: what it becomes, and how a wrong one is refused."""

from typing import Any

import orjson
import pytest
import time_machine

from services.ingress.short_form import Malformed, expand
from shared.domain.splitting import split

SHORT = {"type": "partner-added", "trackingCode": "test-123"}


def expanded(short: Any) -> Any:
    return orjson.loads(expand(orjson.dumps(short)))


@pytest.mark.parametrize(
    ("name", "event"),
    [
        ("partner-added", "PARTNER_ADDED"),
        ("partner-app-installed", "PARTNER_APP_INSTALLED"),
        ("partner-removed", "PARTNER_REMOVED"),
    ],
)
def test_the_short_form_becomes_what_meta_would_have_sent(name: str, event: str) -> None:
    body = expand(orjson.dumps(SHORT | {"type": name}))

    [change] = split(body, is_test=True)

    assert (change.field, change.event) == ("account_update", event)
    assert change.waba_id is not None
    assert change.waba_id.startswith("99900")
    assert orjson.loads(change.content)["entry"]["tracking_code"] == "test-123"


@time_machine.travel(1_793_000_000, tick=False)
def test_the_time_of_receipt_is_added() -> None:
    assert expanded(SHORT)["entry"][0]["time"] == 1_793_000_000


def test_a_tracking_code_always_gives_the_same_waba() -> None:
    def waba_info(short: Any) -> Any:
        return expanded(short)["entry"][0]["changes"][0]["value"]["waba_info"]

    first = waba_info(SHORT)

    assert waba_info(SHORT | {"type": "partner-removed"}) == first
    assert waba_info(SHORT | {"trackingCode": "test-124"}) != first
    assert first["waba_id"][5:].isdecimal()
    assert len(first["waba_id"]) == 15
    assert first["owner_business_id"].startswith("99901")


@pytest.mark.parametrize("owner", ["845600000000007", 845600000000007])
def test_an_owner_business_may_be_named(owner: object) -> None:
    body = expanded(SHORT | {"ownerBusinessId": owner})

    assert body["entry"][0]["changes"][0]["value"]["waba_info"]["owner_business_id"] == owner


@pytest.mark.parametrize(
    ("short", "reason"),
    [
        (b"", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 10_000, "not JSON"),
        (b"[]", "type must be one of: partner-added, partner-app-installed, partner-removed"),
        (b"null", "type"),
        (b"{}", "type"),
        (b'{"type":"PARTNER_ADDED"}', "type"),
        (b'{"type":7}', "type"),
        (b'{"type":[]}', "type"),
        (b'{"type":{"a":1}}', "type"),
        (b'{"type":"partner-added"}', "trackingCode"),
        (b'{"type":"partner-added","trackingCode":""}', "trackingCode"),
        (b'{"type":"partner-added","trackingCode":7}', "trackingCode"),
        (b'{"type":"partner-added","trackingCode":"a\\u0000"}', "trackingCode"),
        (b'{"type":"partner-added","trackingCode":"a\\nb"}', "trackingCode"),
        (b'{"type":"partner-added","trackingCode":"\\u202e"}', "trackingCode"),
        (b'{"type":"partner-added","trackingCode":"%b"}' % (b"x" * 129), "trackingCode"),
        (b'{"type":"partner-added","trackingCode":"a","ownerBusinessId":"x"}', "ownerBusinessId"),
        (b'{"type":"partner-added","trackingCode":"a","ownerBusinessId":null}', "ownerBusinessId"),
        (b'{"type":"partner-added","trackingCode":"a","ownerBusinessId":[]}', "ownerBusinessId"),
        (b'{"type":"partner-added","trackingCode":"a","ownerBusinessId":1e30}', "ownerBusinessId"),
    ],
)
def test_a_wrong_form_is_refused_with_what_is_expected(short: bytes, reason: str) -> None:
    with pytest.raises(Malformed, match=reason):
        expand(short)


def test_a_refusal_quotes_nothing_of_the_form() -> None:
    with pytest.raises(Malformed) as raised:
        expand(b'{"type":"canary-7281"}')

    assert "canary" not in str(raised.value)


def test_a_code_of_128_characters_outside_ascii_is_accepted() -> None:
    code = "ç" * 128

    assert expanded(SHORT | {"trackingCode": code})["trackingCode"] == code
