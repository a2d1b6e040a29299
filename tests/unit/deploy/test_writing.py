"""The simulated Meta writes webhooks as Meta does: escapes, signature, batches."""

import hashlib
import hmac
from typing import Any

import pytest

from deploy.local.simulated_meta.writing import batched, headers, write

SECRET = "example_app_secret_0001"  # pragma: allowlist secret
SIGNED = (
    "f93338b6e31cb79ad3f0d40e770d73c1361f222f317b2997e6ef59fbb0033078"  # pragma: allowlist secret
)


def notification(number: int) -> dict[str, Any]:
    return {"object": "whatsapp_business_account", "entry": [{"id": f"{number}", "changes": []}]}


def test_metas_published_vector_is_written_and_signed_byte_for_byte() -> None:
    body = write({"t": "äöå / 😀"})

    assert body == rb'{"t":"\u00e4\u00f6\u00e5 \/ \ud83d\ude00"}'
    assert headers(body, SECRET)["X-Hub-Signature-256"] == f"sha256={SIGNED}"


def test_an_empty_notification_is_metas_first_vector() -> None:
    body = write({"object": "whatsapp_business_account", "entry": []})

    assert body == b'{"object":"whatsapp_business_account","entry":[]}'
    assert headers(body, SECRET)["X-Hub-Signature-256"].startswith("sha256=4081f6337354")


def test_a_wrong_signature_has_the_right_form_and_another_value() -> None:
    right, wrong = (
        headers(b"{}", SECRET, kind)["X-Hub-Signature-256"] for kind in ("right", "wrong")
    )

    assert wrong != right
    assert len(wrong) == len(right)


@pytest.mark.parametrize("kind", ["missing", "sha1"])
def test_a_missing_or_old_signature_leaves_the_header_out(kind: Any) -> None:
    assert "X-Hub-Signature-256" not in headers(b"{}", SECRET, kind)


def test_the_old_header_is_signed_with_sha_1() -> None:
    digest = hmac.new(SECRET.encode(), b"{}", hashlib.sha1).hexdigest()

    assert headers(b"{}", SECRET, "sha1")["X-Hub-Signature"] == f"sha1={digest}"


@pytest.mark.parametrize(
    ("count", "size", "sizes"), [(5, 2, [2, 2, 1]), (3, 1, [1, 1, 1]), (2, 9, [2]), (0, 3, [])]
)
def test_notifications_are_batched_in_order(count: int, size: int, sizes: list[int]) -> None:
    bodies = [notification(number) for number in range(count)]

    posts = list(batched(bodies, size))

    assert [len(post["entry"]) for post in posts] == sizes
    assert [entry for post in posts for entry in post["entry"]] == [
        entry for body in bodies for entry in body["entry"]
    ]
    assert all(post["object"] == "whatsapp_business_account" for post in posts)


def test_batching_leaves_the_notifications_as_they_were() -> None:
    bodies = [notification(1), notification(2)]

    list(batched(bodies, 2))

    assert bodies == [notification(1), notification(2)]
