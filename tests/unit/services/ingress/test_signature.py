"""Meta signs the raw bytes. A header that does not have exactly the right form is refused."""

import hmac

import pytest

from services.ingress.signature import matches_verify_token, matching_secret, parse_header

SECRET = b"example_app_secret_0001"
EMPTY = b'{"object":"whatsapp_business_account","entry":[]}'
ESCAPED = rb'{"t":"\u00e4\u00f6\u00e5 \/ \ud83d\ude00"}'
PLAIN = '{"t":"äöå / 😀"}'.encode()  # the same JSON value in other bytes
VECTORS = {
    EMPTY: "4081f63373549770fda4d866622d6d559545efce1a7d8b837e818f9b81471e9b",  # pragma: allowlist secret
    ESCAPED: "f93338b6e31cb79ad3f0d40e770d73c1361f222f317b2997e6ef59fbb0033078",  # pragma: allowlist secret
    PLAIN: "18a4cf57ee7d7d2ecdc2e49d9b9c351b2d7f58f41fb3251f9f472d1d1632ee7c",  # pragma: allowlist secret
}
DIGEST = VECTORS[EMPTY]


def signed(body: bytes, secret: bytes = SECRET) -> bytes:
    return hmac.digest(secret, body, "sha256")


@pytest.mark.parametrize("body", VECTORS)
def test_metas_own_signatures_match(body: bytes) -> None:
    digest = parse_header(f"sha256={VECTORS[body]}")

    assert digest is not None
    assert matching_secret(digest, body, [SECRET]) == 0


@pytest.mark.parametrize("position", range(32))
def test_a_digest_that_differs_in_one_byte_does_not_match(position: int) -> None:
    forged = bytearray(signed(EMPTY))
    forged[position] ^= 1

    assert matching_secret(bytes(forged), EMPTY, [SECRET]) is None


def test_the_same_json_in_other_bytes_does_not_match() -> None:
    assert matching_secret(bytes.fromhex(VECTORS[ESCAPED]), PLAIN, [SECRET]) is None
    assert matching_secret(bytes.fromhex(VECTORS[PLAIN]), ESCAPED, [SECRET]) is None


def test_hex_is_read_in_either_case() -> None:
    assert (
        parse_header(f"sha256={DIGEST.upper()}")
        == parse_header(f"sha256={DIGEST}")
        == bytes.fromhex(DIGEST)
    )


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        DIGEST,
        "sha256=",
        f"sha1={DIGEST}",
        f"SHA256={DIGEST}",
        f"sha256={DIGEST[:-1]}",
        f"sha256={DIGEST}0",
        f"sha256={DIGEST[:-1]}g",
        f" sha256={DIGEST}",
        f"sha256={DIGEST}\n",
        f"sha256= {DIGEST[1:]}",
        f"sha256={DIGEST},sha256={DIGEST}",
        f"sha256={DIGEST[:-1]}é",
        f"sha256={DIGEST[:-1]}٣",
        f"sha256={DIGEST[:-1]}\udcff",
        f"sha256={DIGEST[:-1]}\x00",
        "\udcff",
    ],
)
def test_a_header_of_any_other_form_is_refused(header: str | None) -> None:
    assert parse_header(header) is None


@pytest.mark.parametrize("signer", [0, 1, 2])
def test_each_live_secret_is_accepted_and_its_index_is_returned(signer: int) -> None:
    secrets = [b"current-secret", b"previous-secret", b"older-secret"]

    assert matching_secret(signed(EMPTY, secrets[signer]), EMPTY, secrets) == signer


def test_every_secret_is_tried_even_after_a_match(monkeypatch: pytest.MonkeyPatch) -> None:
    digest, tried = hmac.digest, []

    def counted(key: bytes, msg: bytes, algorithm: str) -> bytes:
        tried.append(key)
        return digest(key, msg, algorithm)

    monkeypatch.setattr(hmac, "digest", counted)

    assert matching_secret(digest(SECRET, EMPTY, "sha256"), EMPTY, [SECRET, b"old"]) == 0
    assert tried == [SECRET, b"old"]


@pytest.mark.parametrize(
    ("digest", "body"),
    [
        (signed(EMPTY), EMPTY + b" "),
        (signed(EMPTY), b""),
        (signed(EMPTY, b"another-secret"), EMPTY),
        (signed(EMPTY, b""), EMPTY),
        (bytes(32), EMPTY),
        (b"", EMPTY),
    ],
)
def test_a_digest_that_no_secret_made_matches_no_secret(digest: bytes, body: bytes) -> None:
    assert matching_secret(digest, body, [SECRET, b"previous-secret"]) is None


def test_the_verify_token_must_be_exact() -> None:
    assert matches_verify_token("verify-7f3a", "verify-7f3a")
    for other in ("", "verify-7f3", "verify-7f3a ", "VERIFY-7F3A", "verify-7f3é", "\udcff", "\x00"):
        assert not matches_verify_token(other, "verify-7f3a")
