"""Build and send webhooks."""

from io import BytesIO
from typing import Any

import aiohttp

from deploy.local.simulated_meta.writing import headers, write
from services.ingress.app import PATH
from tests.support.environment import APP_SECRET

WABA = "210000000000010"
NUMBER = {"display_phone_number": "15550009999", "phone_number_id": "230000000000060"}


def message(number: int, text: str = "oi") -> dict[str, Any]:
    """Return a webhook with one message, different for each `number`."""
    item = {
        "from": "15550004444",
        "id": f"wamid.TEST{number}",
        "timestamp": str(1_790_000_000 + number),
        "type": "text",
        "text": {"body": text},
    }
    value = {"messaging_product": "whatsapp", "metadata": NUMBER, "messages": [item]}
    change = {"field": "messages", "value": value}
    return {"object": "whatsapp_business_account", "entry": [{"id": WABA, "changes": [change]}]}


def account_update(event: str, *, time: int = 1_790_000_000, **value: Any) -> dict[str, Any]:
    change = {"field": "account_update", "value": {"event": event, **value}}
    entry = {"id": WABA, "time": time, "changes": [change]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


async def post(
    client: aiohttp.ClientSession, body: bytes | dict[str, Any], secret: str = APP_SECRET
) -> int:
    """POST the body with its signature. Return the status."""
    raw = write(body) if isinstance(body, dict) else body
    async with client.post(PATH, data=BytesIO(raw), headers=headers(raw, secret)) as answer:
        content = await answer.read()
        assert content == b"", content
        return answer.status
