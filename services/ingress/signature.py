"""Meta's signature over the raw body, and the only comparisons of secrets in the door."""

import hmac
import re
from collections.abc import Sequence

#: `X-Hub-Signature-256: sha256=<hex>`, HMAC-SHA256 of the body under the app secret
#: (Meta, Webhooks: Create an endpoint, Apr 2026). The SHA-1 header is ignored.
HEADER = "X-Hub-Signature-256"
_FORM = re.compile(r"sha256=([0-9a-fA-F]{64})")


def parse(header: str | None) -> bytes | None:
    """The claimed digest; None if the header is absent or is none."""
    found = _FORM.fullmatch(header) if header else None
    return bytes.fromhex(found[1]) if found else None


def matching_secret(received: bytes, body: bytes, secrets: Sequence[bytes]) -> int | None:
    """Which secret signed `body`, by its place; every secret is tried, whichever matches."""
    matches = [
        index
        for index, secret in enumerate(secrets)
        if hmac.compare_digest(hmac.digest(secret, body, "sha256"), received)
    ]
    return matches[0] if matches else None


def is_token(received: str, token: str) -> bool:
    """Whether Meta's handshake names our verify token."""
    return hmac.compare_digest(received.encode(errors="surrogateescape"), token.encode())
