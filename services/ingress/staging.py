"""The short form that testers post: `{"type": "partner-added", "trackingCode": "test-123"}`."""

import time
from hashlib import sha256

import orjson

from shared.domain.splitting import as_id

EVENTS = {
    "partner-added": "PARTNER_ADDED",
    "partner-app-installed": "PARTNER_APP_INSTALLED",
    "partner-removed": "PARTNER_REMOVED",
}
#: Test WABAs, and the businesses that own them, live in ranges that Meta does not use.
WABA_PREFIX = "99900"
BUSINESS_PREFIX = "99901"


class Malformed(Exception):
    """The text says what is wrong and what to send; it quotes nothing."""


def expand(short: bytes) -> bytes:
    """A webhook as Meta would have sent it now, with the tracking code beside it. Raises Malformed.

    The same tracking code always means the same test WABA.
    """
    try:
        form = orjson.loads(short)
    except orjson.JSONDecodeError:
        raise Malformed("the body is not JSON") from None
    kind = form.get("type") if isinstance(form, dict) else None
    if not isinstance(kind, str) or kind not in EVENTS:
        raise Malformed(f"type must be one of: {', '.join(EVENTS)}")
    code = form.get("trackingCode")
    if not isinstance(code, str) or not 1 <= len(code) <= 128 or not code.isprintable():
        raise Malformed("trackingCode must be 1 to 128 printable characters")
    number = int.from_bytes(sha256(code.encode()).digest()[:4], "big")
    business = form.get("ownerBusinessId", f"{BUSINESS_PREFIX}{number:010d}")
    if as_id(business) is None:
        raise Malformed("ownerBusinessId must be 1 to 20 digits")
    info = {"waba_id": f"{WABA_PREFIX}{number:010d}", "owner_business_id": business}
    value = {"event": EVENTS[kind], "waba_info": info}
    change = {"field": "account_update", "value": value}
    entry = {"id": BUSINESS_PREFIX, "time": int(time.time()), "changes": [change]}
    return orjson.dumps({"object": "porteiro_test", "trackingCode": code, "entry": [entry]})
