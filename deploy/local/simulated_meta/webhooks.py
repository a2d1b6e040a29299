"""Build the webhooks that Meta sends when something changes."""

from typing import Any

from deploy.local.simulated_meta.world import PARTNER, Body, Number, Waba

SYNCS = ("smb_app_state_sync", "history")
#: What phone_number_name_update says of a name's status.
NAME_DECISIONS = {"APPROVED": "APPROVED", "DECLINED": "REJECTED"}
_CUSTOMER = "15550002222"


def _webhook(entry_id: str, field: str, value: Body, time: int | None = None) -> Body:
    entry: Body = {"id": entry_id, "changes": [{"field": field, "value": value}]}
    if time is not None:
        entry["time"] = time
    return {"object": "whatsapp_business_account", "entry": [entry]}


def partner_update(waba: Waba, event: str, time: int, **info: str) -> Body:
    """Return a PARTNER_* webhook: its entry is our business, its waba_info has the WABA.

    (account_update reference, Feb 2026)
    """
    waba_info = {"waba_id": waba.waba_id, "owner_business_id": waba.business_id, **info}
    return _webhook(PARTNER, "account_update", {"event": event, "waba_info": waba_info}, time)


def account_update(waba: Waba, event: str, time: int, **value: Any) -> Body:
    """Return an account_update webhook whose entry is the WABA."""
    return _webhook(waba.waba_id, "account_update", {"event": event, **value}, time)


def template_webhook(waba: Waba, template: Body, time: int) -> Body:
    """Return the webhook of an approved template (message_template_status_update reference)."""
    value: Body = {
        "event": "APPROVED",
        "message_template_id": int(template["id"]),
        "message_template_name": template["name"],
        "message_template_language": template["language"],
        "message_template_category": template["category"],
        "reason": "NONE",
    }
    return _webhook(waba.waba_id, "message_template_status_update", value, time)


def name_webhook(waba: Waba, number: Number, time: int) -> Body:
    """Return the webhook of a decision on a number's display name (phone_number_name_update
    reference)."""
    value: Body = {
        "display_phone_number": number.digits,
        "decision": NAME_DECISIONS[number.name_status],
        "requested_verified_name": waba.name,
    }
    return _webhook(waba.waba_id, "phone_number_name_update", value, time)


def status_webhook(
    waba: Waba,
    number: Number,
    *,
    wa_id: str,
    message_id: str,
    status: str,
    time: int,
    tracker: str,
) -> Body:
    """Return the webhook of a message's status (Messages webhooks, statuses)."""
    item: Body = {
        "id": message_id,
        "status": status,
        "timestamp": str(time),
        "recipient_id": wa_id,
        "pricing": {
            "billable": False,
            "pricing_model": "PMP",
            "type": "free_customer_service",
            "category": "service",
        },
    }
    if tracker:
        item["biz_opaque_callback_data"] = tracker
    value = _number_value(number) | {
        "contacts": [{"profile": {"name": "Ana Souza"}, "wa_id": wa_id}],
        "statuses": [item],
    }
    return _webhook(waba.waba_id, "messages", value)


def sync_webhook(waba_id: str, number: Number, kind: str, time: int) -> Body:
    """Return the webhook of a sync: one contact, or one short thread."""
    value = _number_value(number)
    return _webhook(waba_id, kind, value | {_KEYS[kind]: [_SYNC_ITEMS[kind](str(time))]})


def _number_value(number: Number) -> Body:
    return {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": number.digits,
            "phone_number_id": number.number_id,
        },
    }


def _contact(time: str) -> Body:
    return {
        "type": "contact",
        "contact": {"full_name": "Ana Souza", "first_name": "Ana", "phone_number": _CUSTOMER},
        "action": "add",
        "metadata": {"timestamp": time},
    }


def _history(time: str) -> Body:
    message = {
        "from": _CUSTOMER,
        "id": f"wamid.HISTORY{time}",
        "timestamp": time,
        "type": "text",
        "text": {"body": "Olá!"},
        "history_context": {"status": "READ"},
    }
    return {
        "metadata": {"phase": 0, "chunk_order": 1, "progress": 100},
        "threads": [{"id": _CUSTOMER, "messages": [message]}],
    }


_KEYS = {"smb_app_state_sync": "state_sync", "history": "history"}
_SYNC_ITEMS = {"smb_app_state_sync": _contact, "history": _history}
