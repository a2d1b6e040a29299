"""Check Meta's signature over the raw body. The ingress compares secrets only in this file."""

import hmac
import re
from collections.abc import Sequence

#: `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 of the body under the app secret
#: (Meta, Webhooks: Create an endpoint, Apr 2026). The SHA-1 header is ignored.
HEADER = "X-Hub-Signature-256"
_HEADER_PATTERN = re.compile(r"sha256=([0-9a-fA-F]{64})")


def parse_header(header: str | None) -> bytes | None:
    """Return the digest in the header. Return None if the header is absent or malformed."""
    match = _HEADER_PATTERN.fullmatch(header) if header else None
    return bytes.fromhex(match[1]) if match else None


def matching_secret(received: bytes, body: bytes, secrets: Sequence[bytes]) -> int | None:
    """Return the index of the first secret that signed `body`, or None.

    Every secret is compared, also after a match.
    """
    matches = [
        index
        for index, secret in enumerate(secrets)
        if hmac.compare_digest(hmac.digest(secret, body, "sha256"), received)
    ]
    return matches[0] if matches else None


def matches_verify_token(received: str, token: str) -> bool:
    """Return whether Meta's handshake sent our verify token."""
    return hmac.compare_digest(received.encode(errors="surrogateescape"), token.encode())
