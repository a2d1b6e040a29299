"""Build realistic webhook bodies with invented ids."""

from typing import Any

PARTNER = "710000000000001"
WABA = "720000000000010"
BUSINESS = "730000000000020"
NUMBER = {"display_phone_number": "15550001111", "phone_number_id": "740000000000060"}
CUSTOMER = "15550002222"
NOW = 1_790_000_000

Body = dict[str, Any]


def webhook(entry_id: str, *changes: Body, time: int | None = NOW) -> Body:
    entry: Body = {"id": entry_id, "changes": list(changes)}
    if time is not None:
        entry["time"] = time
    return {"object": "whatsapp_business_account", "entry": [entry]}


def partner_added(waba: str = WABA) -> Body:
    info = {"waba_id": waba, "owner_business_id": BUSINESS}
    value = {"event": "PARTNER_ADDED", "waba_info": info}
    return webhook(PARTNER, {"field": "account_update", "value": value})


def account(field: str, **value: Any) -> Body:
    return webhook(WABA, {"field": field, "value": value})


def _messages(**items: Any) -> Body:
    value = {"messaging_product": "whatsapp", "metadata": NUMBER, **items}
    return webhook(WABA, {"field": "messages", "value": value}, time=None)


def text(number: int, words: str = "Olá! Tem café às 15h? ☕ 1/2 kg") -> Body:
    message = {
        "from": CUSTOMER,
        "id": f"wamid.DEMO{number:06}",
        "timestamp": str(NOW + number),
        "type": "text",
        "text": {"body": words},
    }
    contact = {"wa_id": CUSTOMER, "profile": {"name": "Ana"}}
    return _messages(contacts=[contact], messages=[message])


def message_of(waba_id: str, number: int) -> Body:
    """Return a message to a number of the given WABA."""
    body = text(900_000 + number)
    body["entry"][0]["id"] = waba_id
    return body


def status(number: int, state: str) -> Body:
    item = {
        "id": f"wamid.DEMO{number:06}",
        "status": state,
        "timestamp": str(NOW + number),
        "recipient_id": CUSTOMER,
    }
    return _messages(statuses=[item])


#: Bodies that are rightly signed but cannot be split. Each must be stored unchanged.
BROKEN: dict[str, bytes] = {
    "cut off": b'{"object":"whatsapp_business_account","entry":[',
    "NUL": b'{"object":"whatsapp_business_account","entry":[{"id":"\x00"}]}',
    "lone surrogate": rb'{"object":"x","entry":[{"id":"\ud83d"}]}',
    "NaN": b'{"object":"x","entry":[{"id":"1","time":NaN,"changes":[]}]}',
    "5,000 digits": b'{"object":"x","entry":[{"id":"1","time":' + b"9" * 5000 + b',"changes":[]}]}',
    "100,000 brackets": b"[" * 100_000 + b"]" * 100_000,
    "not UTF-8": b'{"object":"\xff\xfe","entry":[]}',
}
