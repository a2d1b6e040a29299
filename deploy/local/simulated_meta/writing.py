"""Write webhooks as Meta does: its escapes, its signature, its batches."""

import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

Signature = Literal["right", "wrong", "missing", "sha1"]


def write(body: dict[str, Any]) -> bytes:
    """Return the bytes that Meta signs.

    They are compact JSON with lower-case escapes for non-ASCII, and `/` as `\\/`.
    """
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def headers(body: bytes, secret: str, signature: Signature = "right") -> dict[str, str]:
    """Return the headers that Meta sends, or those of a forger who does not know the secret."""
    result = {"Content-Type": "application/json", "User-Agent": "facebookexternalua"}
    key = secret.encode()
    if signature == "right":
        result["X-Hub-Signature-256"] = f"sha256={hmac.digest(key, body, 'sha256').hex()}"
    elif signature == "wrong":
        result["X-Hub-Signature-256"] = f"sha256={hmac.digest(b'guess', body, 'sha256').hex()}"
    elif signature == "sha1":
        result["X-Hub-Signature"] = f"sha1={hmac.digest(key, body, 'sha1').hex()}"
    return result


def batched(bodies: Sequence[dict[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    """Put up to `size` notifications into one POST, their entries side by side."""
    for start in range(0, len(bodies), size):
        part = bodies[start : start + size]
        yield part[0] | {"entry": [entry for body in part for entry in body["entry"]]}
