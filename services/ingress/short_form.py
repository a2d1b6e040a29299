"""Expand the short form of testers: `{"type": "partner-added", "trackingCode": "test-123"}`."""

import time
from hashlib import sha256

import orjson

from shared.domain.splitting import as_id

EVENTS = {
    "partner-added": "PARTNER_ADDED",
    "partner-app-installed": "PARTNER_APP_INSTALLED",
    "partner-removed": "PARTNER_REMOVED",
}
#: The ids of test WABAs and of their owner businesses are in ranges that Meta does not use.
WABA_PREFIX = "99900"
BUSINESS_PREFIX = "99901"


class Malformed(Exception):
    """The short form is wrong. The text says what to send, and quotes nothing from the body."""


def expand(short: bytes) -> bytes:
    """Return the webhook that Meta would send now, plus the tracking code. Raise Malformed.

    The same tracking code always gives the same test WABA.
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
    id_number = int.from_bytes(sha256(code.encode()).digest()[:4], "big")
    business = form.get("ownerBusinessId", f"{BUSINESS_PREFIX}{id_number:010d}")
    if as_id(business) is None:
        raise Malformed("ownerBusinessId must be 1 to 20 digits")
    waba_info = {"waba_id": f"{WABA_PREFIX}{id_number:010d}", "owner_business_id": business}
    value = {"event": EVENTS[kind], "waba_info": waba_info}
    change = {"field": "account_update", "value": value}
    entry = {"id": BUSINESS_PREFIX, "time": int(time.time()), "changes": [change]}
    return orjson.dumps({"object": "porteiro_test", "trackingCode": code, "entry": [entry]})
