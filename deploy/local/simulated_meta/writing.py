"""Webhooks as Meta writes them: its escapes, its signature, its batches."""

import hmac
import json
from collections.abc import Iterator, Sequence
from typing import Any, Literal

Signature = Literal["right", "wrong", "missing", "sha1"]


def write(body: dict[str, Any]) -> bytes:
    """Compact JSON, non-ASCII as lower-case escapes and `/` as `\\/`: the bytes Meta signs."""
    return json.dumps(body, separators=(",", ":")).replace("/", "\\/").encode()


def headers(body: bytes, secret: str, signature: Signature = "right") -> dict[str, str]:
    """What Meta sends beside the body; or what somebody who does not know the secret would."""
    sent = {"Content-Type": "application/json", "User-Agent": "facebookexternalua"}
    key = secret.encode()
    if signature == "right":
        sent["X-Hub-Signature-256"] = f"sha256={hmac.digest(key, body, 'sha256').hex()}"
    elif signature == "wrong":
        sent["X-Hub-Signature-256"] = f"sha256={hmac.digest(b'guess', body, 'sha256').hex()}"
    elif signature == "sha1":
        sent["X-Hub-Signature"] = f"sha1={hmac.digest(key, body, 'sha1').hex()}"
    return sent


def batched(bodies: Sequence[dict[str, Any]], size: int) -> Iterator[dict[str, Any]]:
    """Up to `size` notifications in one POST, their entries side by side."""
    for start in range(0, len(bodies), size):
        part = bodies[start : start + size]
        yield part[0] | {"entry": [entry for body in part for entry in body["entry"]]}
