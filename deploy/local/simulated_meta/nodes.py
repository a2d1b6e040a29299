"""How Graph prints a WABA and a number: the fields asked for, and lists in pages."""

import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

from deploy.local.simulated_meta.access import Asked
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
    known = {
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
    return _picked(known, fields or WABA_FIELDS, "WhatsAppBusinessAccount")


def number_node(app: MetaApp, waba: Waba, number: Number, fields: str) -> Answer:
    is_linked = number.onboarded_at is not None
    is_cloud_api = number.is_registered or (number.is_on_biz_app and is_linked)
    overrides = {"whatsapp_business_account": waba.override, "phone_number": number.override}
    known = {
        "id": number.number_id,
        "display_phone_number": _printed(number.display),
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
    return _picked(known, fields or NUMBER_FIELDS, "WhatsAppBusinessPhoneNumber")


def paged(items: Sequence[Answer], asked: Asked) -> Answer:
    """A page of `items`; cursors are opaque and stay right when newer items come before them."""
    ids = [item["id"] for item in items]
    start = 0
    if after := asked.text("after"):
        start = _binding(ids, after) + 1
    limit = asked.text("limit") or str(_PAGE_SIZE)
    if not limit.isdecimal() or not 1 <= int(limit) <= _MAX_PAGE_SIZE:
        raise bad_parameter("Invalid limit")
    page = list(items[start : start + int(limit)])
    if not page:
        return {"data": []}
    last = _cursor(page[-1]["id"])
    paging: Answer = {"cursors": {"before": _cursor(page[0]["id"]), "after": last}}
    if start + len(page) < len(items):
        kept = {name: asked.text(name) for name in ("fields", "limit") if asked.text(name)}
        paging["next"] = f"{asked.url}?{urlencode(kept | {'after': last})}"
    return {"data": page, "paging": paging}


def _picked(known: Answer, fields: str, kind: str) -> Answer:
    names = [name.strip() for name in _NESTED.sub("", fields).split(",")]
    for name in names:
        if name not in known:
            raise bad_parameter(f"Tried accessing nonexisting field ({name}) on node type ({kind})")
    return {name: known[name] for name in (*names, "id")}


def _printed(display: str) -> str:
    """Graph prints numbers formatted, webhooks print their digits."""
    if parts := _NANP.fullmatch(display):
        return "+1 {}-{}-{}".format(*parts.groups())
    return f"+{display}" if display.isdecimal() else display


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S+0000")


def _cursor(item_id: str) -> str:
    return urlsafe_b64encode(item_id.encode()).decode()


def _binding(ids: list[str], cursor: str) -> int:
    try:
        return ids.index(urlsafe_b64decode(cursor).decode())
    except ValueError:
        raise bad_parameter("Invalid cursors values: after") from None
