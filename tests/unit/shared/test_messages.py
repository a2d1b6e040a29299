"""Bundles decode to exactly what was encoded. A person can read them. Other bytes are refused."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.messages import (
    BrokenBundle,
    Webhook,
    decode_bundle,
    describe_newer,
    encode_webhook,
    join_bundle,
)

ID = UUID("01890a5d-ac96-774b-bcce-b302099a8057")
AT = datetime(2026, 11, 3, 12, 30, 15, 123456, tzinfo=UTC)


def webhook(body: bytes, kind: Any = "whatsapp") -> Webhook:
    return Webhook(ID, AT, kind, f"sha256={'ab' * 32}", body)


def bundle(*items: Any) -> bytes:
    return orjson.dumps({"version": 1, "webhooks": items})


def valid_item() -> dict[str, Any]:
    return dict(orjson.loads(encode_webhook(webhook(b"{}"))))


@given(bodies=st.lists(st.binary(max_size=200) | st.text(max_size=50).map(str.encode), max_size=5))
def test_a_bundle_decodes_to_exactly_what_was_encoded(bodies: list[bytes]) -> None:
    webhooks = [webhook(body) for body in bodies]

    bundle = decode_bundle(join_bundle([encode_webhook(item) for item in webhooks]))
    assert bundle == (webhooks, None)


def test_a_utf_8_body_is_readable_in_the_message() -> None:
    item = orjson.loads(encode_webhook(webhook('{"text":"Olá 😀"}'.encode(), "test")))

    assert item == {
        "id": "01890a5d-ac96-774b-bcce-b302099a8057",
        "received_at": "2026-11-03T12:30:15.123456+00:00",
        "kind": "test",
        "signature": f"sha256={'ab' * 32}",
        "body": '{"text":"Olá 😀"}',
    }


def test_a_body_that_is_not_utf_8_is_sent_in_base64() -> None:
    item = orjson.loads(encode_webhook(webhook(b"\xff\x00")))

    assert item["body_base64"] == "/wA="
    assert "body" not in item


@pytest.mark.parametrize("body", [b"\x01" * 3_000_000, b'"' * 3_000_000, b"\xff" * 3_000_000])
def test_no_encoded_body_is_larger_than_twice_its_size(body: bytes) -> None:
    encoded = encode_webhook(webhook(body))

    assert len(encoded) <= 2 * len(body) + 512
    assert decode_bundle(join_bundle([encoded])) == ([webhook(body)], None)


@pytest.mark.parametrize("version", [2, 99])
def test_a_newer_version_is_not_a_broken_envelope(version: int) -> None:
    message = orjson.dumps({"version": version, "webhooks": "who knows"})
    assert decode_bundle(message) == ((), message)


def test_an_item_of_a_newer_kind_is_told_apart_from_the_others() -> None:
    newer = valid_item() | {"kind": "elsewhere", "more": 1}
    webhooks, rest = decode_bundle(bundle(valid_item(), newer, valid_item()))
    assert len(webhooks) == 2
    assert rest is not None
    assert orjson.loads(rest) == {"version": 1, "webhooks": [newer]}


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\xff",
        b"not JSON",
        b"[]",
        b"null",
        b"{}",
        b'{"version":0,"webhooks":[]}',
        b'{"version":"2","webhooks":[]}',
        b'{"version":null,"webhooks":[]}',
        b'{"version":1}',
        b'{"version":1,"webhooks":null}',
        b'{"version":1,"webhooks":7}',
        b'{"version":1,"webhooks":{}}',
        b'{"version":1,"webhooks":"ab"}',
        join_bundle([b"null"]),
        join_bundle([b'"text"']),
        join_bundle([b"[]"]),
        b"[" * 100_000,
    ],
)
def test_bytes_that_are_no_bundle_are_a_broken_envelope(message: bytes) -> None:
    with pytest.raises(BrokenBundle):
        decode_bundle(message)


@pytest.mark.parametrize("name", ["id", "received_at", "kind", "signature", "body"])
def test_an_item_that_lacks_a_part_is_a_broken_envelope(name: str) -> None:
    item = valid_item()
    del item[name]

    with pytest.raises(BrokenBundle):
        decode_bundle(bundle(item))


@pytest.mark.parametrize(
    "malformed",
    [
        {"id": "not a uuid"},
        {"id": 7},
        {"id": None},
        {"received_at": "yesterday"},
        {"received_at": "2026-11-03T12:30:15"},
        {"received_at": 7},
        {"signature": 7},
        {"signature": "sha256=abc"},
        {"signature": "none"},
        {"received_at": "0001-01-01T00:00:00+14:00"},
        {"body": 7},
        {"body": None, "body_base64": "***"},
        {"body": None, "body_base64": 7},
    ],
)
def test_an_item_with_a_malformed_part_is_a_broken_envelope(malformed: dict[str, Any]) -> None:
    with pytest.raises(BrokenBundle):
        decode_bundle(bundle(valid_item() | malformed))


def test_what_is_newer_is_named_and_nothing_else_of_it() -> None:
    odd = [valid_item() | {"kind": kind} for kind in ("elsewhere", "Ana: +55 11", "elsewhere")]
    rest = decode_bundle(bundle(*odd)).newer
    assert rest is not None
    assert describe_newer(rest) == "kind elsewhere, kind unreadable"
    assert describe_newer(b'{"version": 7, "webhooks": "Ana"}') == "version 7"
