"""Build the webhooks that Meta sends when something changes."""

from typing import Any

from deploy.local.simulated_meta.world import PARTNER, Body, Number, Waba

SYNCS = ("smb_app_state_sync", "history")
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


def sync_webhook(waba_id: str, number: Number, kind: str, time: int) -> Body:
    """Return the webhook of a sync: one contact, or one short thread."""
    value: Body = {
        "messaging_product": "whatsapp",
        "metadata": {
            "display_phone_number": number.digits,
            "phone_number_id": number.number_id,
        },
    }
    return _webhook(waba_id, kind, value | {_KEYS[kind]: [_SYNC_ITEMS[kind](str(time))]})


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
