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
#: Fields that Meta has and that are empty here (Graph reference and Meta's SDKs, 2026).
_EMPTY_OF_WABA = frozenset(
    "analytics auth_international_rate_eligibility country creation_time"
    " disable_marketing_messages_on_cloud_api health_status is_enabled_for_insights"
    " is_shared_with_partners linked_commerce_account marketing_messages_lite_api_status"
    " marketing_messages_onboarding_status on_behalf_of_business_info owner_business"
    " primary_business_location primary_funding_id purchase_order_number status".split()
)
_EMPTY_OF_NUMBER = frozenset(
    "account_mode certificate conversational_automation country_code country_dial_code"
    " eligibility_for_api_business_global_search health_status host_platform"
    " is_official_business_account is_preverified_number messaging_limit_tier new_certificate"
    " new_display_name new_name_status official_business_account quality_score search_visibility"
    " unified_cert_status username whatsapp_business_manager_messaging_limit".split()
)
#: What a link to the next page repeats of the request.
_KEPT = ("fields", "limit", "summary", "name", "status", "category", "language")
_PAGE_SIZE = 25
_MAX_PAGE_SIZE = 100
_NESTED = re.compile(r"\{[^{}]*\}|\.\w+\([^()]*\)")
_NANP = re.compile(r"1(\d{3})(\d{3})(\d{4})")


def subscriptions(app: MetaApp, waba: Waba) -> Answer:
    """Return the apps that are subscribed to the WABA: ours, or none."""
    link = f"https://www.facebook.com/games/?app_id={app.app_id}"
    subscription: Answer = {
        "whatsapp_business_api_data": {"id": app.app_id, "link": link, "name": "Simulated app"}
    }
    if waba.override:
        subscription["override_callback_uri"] = waba.override
    return {"data": [subscription] if waba.is_subscribed else []}


def waba_node(app: MetaApp, waba: Waba, fields: str) -> Answer:
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
        "subscribed_apps": subscriptions(app, waba),
    }
    return select(node, fields or WABA_FIELDS, kind="WhatsAppBusinessAccount", empty=_EMPTY_OF_WABA)


def number_node(app: MetaApp, waba: Waba, number: Number, fields: str) -> Answer:
    is_cloud_api = number.is_cloud_api
    overrides = {"whatsapp_business_account": waba.override, "phone_number": number.override}
    node = {
        "id": number.number_id,
        "display_phone_number": _formatted(number.display),
        "verified_name": waba.name,
        "name_status": number.name_status,
        "code_verification_status": number.verification,
        "quality_rating": number.quality,
        "messaging_limit_tier": "TIER_1K",
        "platform_type": _platform(number),
        "throughput": {"level": "STANDARD" if is_cloud_api else "NOT_APPLICABLE"},
        "status": number.status or _status(number),
        "is_on_biz_app": number.is_on_biz_app,
        "is_pin_enabled": number.pin is not None,
        "last_onboarded_time": _time(number.onboarded_at or 0),
        "webhook_configuration": {"application": app.callback_url}
        | {level: url for level, url in overrides.items() if url},
    }
    return select(
        node, fields or NUMBER_FIELDS, kind="WhatsAppBusinessPhoneNumber", empty=_EMPTY_OF_NUMBER
    )


def _platform(number: Number) -> str:
    if number.is_cloud_api:
        return "CLOUD_API"
    return "ON_PREMISE" if number.is_elsewhere else "NOT_APPLICABLE"


def _status(number: Number) -> str:
    if number.is_cloud_api or number.is_elsewhere:
        return "CONNECTED"
    return "DISCONNECTED" if number.is_on_biz_app else "PENDING"


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
        params = {name: request.text(name) for name in _KEPT if request.text(name)}
        paging["next"] = f"{request.url}?{urlencode(params | {'after': last})}"
    return {"data": page, "paging": paging}


def select(node: Answer, fields: str, *, kind: str, empty: frozenset[str]) -> Answer:
    """Return the id and the requested fields; as at Meta, those in `empty` are left out.

    Raise GraphError for a field that Meta does not have.
    """
    names = [name.strip() for name in _NESTED.sub("", fields).split(",")]
    for name in names:
        if name not in node and name not in empty:
            raise bad_parameter(f"Tried accessing nonexisting field ({name}) on node type ({kind})")
    return {name: node[name] for name in (*names, "id") if name in node}


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
