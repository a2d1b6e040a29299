"""Prepare signed requests: small, all different, for many WABAs."""

import random
import time
from dataclasses import dataclass
from typing import Any

from deploy.local.simulated_meta.writing import headers, write
from services.ingress.app import PATH

WABAS = 2_000
#: What a busy number sends: three statuses per message, and sometimes an account update.
_STATUS_SHARE = 0.74
_ACCOUNT_SHARE = 0.01
#: What happened is as old as if it came at this pace and were sent at once.
_PER_SECOND = 500


def waba_id(number: int) -> str:
    """Return the id of the WABA with this number, from 0 to WABAS - 1."""
    return str(100_000_000_000 + number)


@dataclass(frozen=True, slots=True)
class Traffic:
    seed: int
    secret: str

    def requests(self, count: int) -> list[bytes]:
        """Return whole HTTP requests. Different seeds give different changes."""
        return [self._request(body) for body in self.bodies(count)]

    def bodies(self, count: int) -> list[bytes]:
        """Return the bodies of `requests`."""
        pick, first = random.Random(self.seed), time.time() - count / _PER_SECOND
        return [
            write(self._body(pick, number, int(first + number / _PER_SECOND)))
            for number in range(count)
        ]

    def _request(self, body: bytes) -> bytes:
        lines = [f"POST {PATH} HTTP/1.1", "Host: bench", f"Content-Length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers(body, self.secret).items()]
        return "\r\n".join([*lines, "", ""]).encode() + body

    def _body(self, pick: random.Random, number: int, at: int) -> dict[str, Any]:
        waba = waba_id(pick.randrange(WABAS))
        kind = pick.random()
        if kind < _ACCOUNT_SHARE:
            value: dict[str, Any] = {"event": "ACCOUNT_RECONNECTED"}
            change = {"field": "account_update", "value": value}
            return _webhook({"id": waba, "time": self.seed * 10_000_000 + number}, change)
        person = str(15_550_000_000 + pick.randrange(10_000_000))
        wamid = f"wamid.HBgL{self.seed:08}{number:010}EREREREREREREREREREREA=="
        value = {
            "messaging_product": "whatsapp",
            "metadata": {"display_phone_number": "15551230000", "phone_number_id": f"2{waba}"},
        }
        if kind < _ACCOUNT_SHARE + _STATUS_SHARE:
            pricing = {"billable": True, "pricing_model": "PMP", "category": "utility"}
            state = pick.choice(("sent", "delivered", "read"))
            value["statuses"] = [
                {"id": wamid, "status": state, "timestamp": str(at), "recipient_id": person,
                 "pricing": pricing}
            ]  # fmt: skip
        else:
            words = "Olá, o pedido já saiu? " * pick.randrange(1, 6)
            value["contacts"] = [{"profile": {"name": "Ana"}, "wa_id": person}]
            value["messages"] = [
                {"from": person, "id": wamid, "timestamp": str(at), "type": "text",
                 "text": {"body": words}}
            ]  # fmt: skip
        return _webhook({"id": waba}, {"field": "messages", "value": value})


def _webhook(entry: dict[str, Any], change: dict[str, Any]) -> dict[str, Any]:
    return {"object": "whatsapp_business_account", "entry": [entry | {"changes": [change]}]}
