"""Return WABAs and numbers as Graph does: only the requested fields, and lists in pages."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from deploy.local.simulated_meta.access import GraphRequest
from deploy.local.simulated_meta.errors import bad_parameter
from deploy.local.simulated_meta.world import MetaApp, Number, Waba

Answer = dict[str, Any]
WABA_FIELDS = "name,currency,timezone_id,message_template_namespace"
NUMBER_FIELDS = (
    "verified_name,code_verification_status,display_phone_number,quality_rating,platform_type,"
    "throughput,last_onboarded_time,webhook_configuration"
)
_PAGE_SIZE = 25
_MAX_PAGE_SIZE = 100
_NESTED = re.compile(r"\{[^{}]*\}|\.\w+\([^()]*\)")
_NANP = re.compile(r"1(\d{3})(\d{3})(\d{4})")


def waba_node(waba: Waba, fields: str) -> Answer:
    node = {
        "id": waba.waba_id,
        "name": waba.name,
        "owner_business_info": {"name": f"{waba.name} Ltd", "id": waba.business_id},
        "currency": "USD",
        "timezone_id": "25",
        "account_review_status": "APPROVED",
        "business_verification_status": "verified",
        "ownership_type": "CLIENT_OWNED",
        "message_template_namespace": f"ns_{waba.waba_id}",
    }
    return _select(node, fields or WABA_FIELDS, "WhatsAppBusinessAccount")


def number_node(app: MetaApp, waba: Waba, number: Number, fields: str) -> Answer:
    is_linked = number.onboarded_at is not None
    is_cloud_api = number.is_registered or (number.is_on_biz_app and is_linked)
    overrides = {"whatsapp_business_account": waba.override, "phone_number": number.override}
    node = {
        "id": number.number_id,
        "display_phone_number": _formatted(number.display),
        "verified_name": waba.name,
        "name_status": "APPROVED",
        "code_verification_status": "VERIFIED",
        "quality_rating": "GREEN",
        "platform_type": "CLOUD_API" if is_cloud_api else "NOT_APPLICABLE",
        "throughput": {"level": "STANDARD" if is_cloud_api else "NOT_APPLICABLE"},
        "status": "CONNECTED"
        if is_cloud_api
        else "DISCONNECTED"
        if number.is_on_biz_app
        else "PENDING",
        "is_on_biz_app": number.is_on_biz_app,
        "is_pin_enabled": number.pin is not None,
        "last_onboarded_time": _time(number.onboarded_at or 0),
        "webhook_configuration": {"application": app.callback_url}
        | {level: url for level, url in overrides.items() if url},
    }
    return _select(node, fields or NUMBER_FIELDS, "WhatsAppBusinessPhoneNumber")


def paged(items: Sequence[Answer], request: GraphRequest) -> Answer:
    """Return a page of `items`.

    Cursors are opaque. They stay right when newer items are added before them.
    """
    ids = [item["id"] for item in items]
    start = 0
    if after := request.text("after"):
        start = _cursor_index(ids, after) + 1
    limit = request.text("limit") or str(_PAGE_SIZE)
    if not limit.isdecimal() or not 1 <= int(limit) <= _MAX_PAGE_SIZE:
        raise bad_parameter("Invalid limit")
    page = list(items[start : start + int(limit)])
    if not page:
        return {"data": []}
    last = _cursor(page[-1]["id"])
    paging: Answer = {"cursors": {"before": _cursor(page[0]["id"]), "after": last}}
    if start + len(page) < len(items):
        params = {name: request.text(name) for name in ("fields", "limit") if request.text(name)}
        paging["next"] = f"{request.url}?{urlencode(params | {'after': last})}"
    return {"data": page, "paging": paging}


def _select(node: Answer, fields: str, kind: str) -> Answer:
    """Return the id and the requested fields. Raise GraphError if one does not exist."""
    names = [name.strip() for name in _NESTED.sub("", fields).split(",")]
    for name in names:
        if name not in node:
            raise bad_parameter(f"Tried accessing nonexisting field ({name}) on node type ({kind})")
    return {name: node[name] for name in (*names, "id")}


def _formatted(display: str) -> str:
    """Return a number as Graph formats it. Webhooks have only its digits."""
    if match := _NANP.fullmatch(display):
        return "+1 {}-{}-{}".format(*match.groups())
    return f"+{display}" if display.isdecimal() else display


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _cursor(item_id: str) -> str:
    return urlsafe_b64encode(item_id.encode()).decode()


def _cursor_index(ids: list[str], cursor: str) -> int:
    try:
        return ids.index(urlsafe_b64decode(cursor).decode())
    except ValueError:
        raise bad_parameter("Invalid cursors values: after") from None
