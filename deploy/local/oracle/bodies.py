"""Write the bodies of a storm, and with each what must come of it."""

import random
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from deploy.local.oracle.expected import (
    ExpectedChange,
    ExpectedConnection,
    ExpectedEra,
    ExpectedFact,
    ExpectedWebhook,
    content,
)
from deploy.local.simulated_meta.writing import write

WABAS = [str(710_000_000_000_000 + n) for n in range(10)]
#: One has been taken over by another organization, one has a former owner and no other since.
TAKEN_OVER, FORMER = WABAS[4], WABAS[5]
#: Account changes have a time of these days, in any order.
_FIRST_SECOND, _SECONDS = 1_770_000_000, 1_000_000
#: When each owner has proven its WABA.
PROVEN_AT = datetime(2026, 1, 1, tzinfo=UTC)
_PROVISIONING, _LOST = "connection.provisioning", "connection.lost"


class Update(NamedTuple):
    """An event of the field account_update, and what it says of the WABA."""

    event: str
    fact: str
    value: str
    info: dict[str, Any]
    is_takedown: bool


OFFBOARDED = Update("ACCOUNT_OFFBOARDED", "phone_link", "offboarded", {}, is_takedown=True)
RECONNECTED = Update("ACCOUNT_RECONNECTED", "phone_link", "linked", {}, is_takedown=False)
BANNED = Update(
    "DISABLED_UPDATE", "ban", "disabled", {"ban_info": {"waba_ban_state": "DISABLE"}},
    is_takedown=True,
)  # fmt: skip
REINSTATED = Update(
    "DISABLED_UPDATE", "ban", "none", {"ban_info": {"waba_ban_state": "REINSTATE"}},
    is_takedown=False,
)  # fmt: skip
RESTRICTED = Update(
    "ACCOUNT_RESTRICTION", "restriction", "restricted_add_phone_number_action",
    {"restriction_info": [{"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"}]},
    is_takedown=True,
)  # fmt: skip
UPDATES = (OFFBOARDED, RECONNECTED, BANNED, REINSTATED, RESTRICTED)

#: An entry of a webhook, and what must come of it.
_Entry = tuple[dict[str, Any], list[ExpectedChange]]


def organization(waba_id: str) -> str:
    """Return the organization that owns the WABA."""
    return f"org-{waba_id}"


def former_organization(waba_id: str) -> str:
    """Return the organization that owned the WABA before."""
    return f"former-{waba_id}"


def connection(waba_id: str) -> ExpectedConnection:
    """Return a WABA that one organization owns, and no other has owned."""
    owner = organization(waba_id)
    return ExpectedConnection(
        waba_id,
        told=owner,
        attribution="tracking_code",
        eras=[ExpectedEra(owner, is_open=True)],
        history=[(owner, _PROVISIONING)],
        proven_at=PROVEN_AT,
    )


def connections() -> dict[str, ExpectedConnection]:
    """Return all WABAs: four owned, one taken over, one with a former owner, four orphans."""
    owned = [connection(waba_id) for waba_id in WABAS[:4]]
    owner, before = organization(TAKEN_OVER), former_organization(TAKEN_OVER)
    taken_over = ExpectedConnection(
        TAKEN_OVER,
        told=owner,
        attribution="tracking_code",
        eras=[ExpectedEra(before, is_open=False), ExpectedEra(owner, is_open=True)],
        history=[(before, _PROVISIONING), (before, _LOST), (owner, _PROVISIONING)],
        proven_at=PROVEN_AT,
    )
    gone = former_organization(FORMER)
    former = ExpectedConnection(
        FORMER,
        told=gone,
        attribution="former",
        eras=[ExpectedEra(gone, is_open=False)],
        history=[(gone, _PROVISIONING), (gone, _LOST)],
        proven_at=PROVEN_AT,
    )
    orphans = [ExpectedConnection(waba_id) for waba_id in WABAS[6:]]
    return {each.waba_id: each for each in (*owned, taken_over, former, *orphans)}


class Bodies:
    """Makes a different webhook for each number; the same ones for the same `pick`."""

    def __init__(self, wabas: dict[str, ExpectedConnection], pick: random.Random) -> None:
        self._wabas = wabas
        self._pick = pick
        self._last_message: _Entry | None = None
        self._kinds: Sequence[tuple[int, Callable[[int], ExpectedWebhook]]] = (
            (70, lambda number: webhook(self.message(self._waba(), number))),
            (8, lambda number: webhook(self.conversation(self._waba(), number))),
            (5, self._batch),
            (10, self._any_account_update),
            (3, lambda number: webhook(self.quality(self._waba(), number))),
            (2, lambda number: webhook(self.unknown_field(self._waba(), number))),
            (1, lambda number: webhook(self.share_of_no_waba(number))),
            (1, broken),
        )

    def make(self, number: int) -> ExpectedWebhook:
        weights, makers = zip(*self._kinds, strict=True)
        [maker] = self._pick.choices(makers, weights)
        made: ExpectedWebhook = maker(number)
        return made

    def message(self, waba_id: str, number: int) -> _Entry:
        """One message, and the contact that sent it."""
        person = f"1555{number % 500:07}"
        item = _text(number, person)
        value = _envelope(waba_id) | {"contacts": [_contact(person)], "messages": [item]}
        change = self._of_item(waba_id, value, "text", person)
        self._last_message = _messages(waba_id, value), [change]
        return self._last_message

    def conversation(self, waba_id: str, number: int) -> _Entry:
        """Two messages of two people and a status: three changes, each with its own contact."""
        people = [f"1555{number % 500:07}", f"1666{number % 500:07}"]
        items = [_text(number, person, suffix=f"-{person[1]}") for person in people]
        status = {
            "id": f"wamid.SENT{number}", "recipient_id": people[0], "status": "delivered",
            "timestamp": str(_FIRST_SECOND + number),
        }  # fmt: skip
        contacts = [_contact(person) for person in people]
        lists = {"contacts": contacts, "messages": items, "statuses": [status]}
        envelope = _envelope(waba_id)
        pieces = [
            *(({"messages": [item]}, "text", n) for n, item in enumerate(items)),
            ({"statuses": [status]}, "delivered", 0),
        ]
        changes = [
            self._of_item(waba_id, envelope | {"contacts": [contacts[n]]} | piece, event, people[n])
            for piece, event, n in pieces
        ]
        return _messages(waba_id, envelope | lists), changes

    def account_update(self, waba_id: str, number: int, update: Update, second: int) -> _Entry:
        """A change of the account, which Meta sent at this second of our days."""
        time = _FIRST_SECOND + second
        fact = ExpectedFact(
            update.fact, update.value, datetime.fromtimestamp(time, UTC),
            is_takedown=update.is_takedown,
        )  # fmt: skip
        value = {"event": update.event, "number": number} | update.info
        return self._whole(waba_id, "account_update", value, update.event, fact, time=time)

    def quality(self, waba_id: str, number: int) -> _Entry:
        """The quality of one of the WABA's two numbers."""
        second = _FIRST_SECOND + self._pick.randrange(_SECONDS)
        digits = f"1777{waba_id[-4:]}{self._pick.randrange(2):03}"
        event = self._pick.choice(("FLAGGED", "UNFLAGGED"))
        value = {"display_phone_number": digits, "event": event, "number": number}
        at = datetime.fromtimestamp(second, UTC)
        fact = ExpectedFact("quality", event.lower(), at, digits, is_takedown=True)
        field = "phone_number_quality_update"
        return self._whole(waba_id, field, value, event, fact, time=second)

    def unknown_field(self, waba_id: str, number: int) -> _Entry:
        """A change of a field that Meta does not have yet."""
        value = {"number": number, "names": ["olá", "a/b"], "nested": {"b": 1, "a": None}}
        return self._whole(waba_id, "field_to_come", value, None)

    def share_of_no_waba(self, number: int) -> _Entry:
        """A change that must have an effect but cannot: it names no WABA."""
        value = {"event": "PARTNER_ADDED", "waba_info": {"waba_id": "none"}, "number": number}
        entry = {"id": "790000000000000", "time": _FIRST_SECOND}
        change = ExpectedChange(
            content(entry, "account_update", value), "account_update", "PARTNER_ADDED", None, None,
            is_readable=False,
        )  # fmt: skip
        return _with_changes(entry, "account_update", value), [change]

    def _batch(self, number: int) -> ExpectedWebhook:
        """Meta puts entries of several WABAs into one webhook, and may repeat a message in it."""
        last = [self._last_message] if self._last_message else []
        return webhook(*last, self.message(self._waba(), number), self.unknown_field(
            self._waba(), number))  # fmt: skip

    def _any_account_update(self, number: int) -> ExpectedWebhook:
        update, second = self._pick.choice(UPDATES), self._pick.randrange(_SECONDS)
        return webhook(self.account_update(self._waba(), number, update, second))

    def _waba(self) -> str:
        return self._pick.choice(list(self._wabas))

    def _of_item(
        self, waba_id: str, value: dict[str, Any], event: str, person: str
    ) -> ExpectedChange:
        return ExpectedChange(
            content({"id": waba_id}, "messages", value),
            "messages",
            event,
            waba_id,
            self._wabas[waba_id].organization_id,
            value["metadata"]["phone_number_id"],
            person,
        )

    def _whole(
        self,
        waba_id: str,
        field: str,
        value: dict[str, Any],
        event: str | None,
        *facts: ExpectedFact,
        time: int | None = None,
    ) -> _Entry:
        """Return an entry with one change that is stored as a whole."""
        entry: dict[str, Any] = {"id": waba_id} | ({} if time is None else {"time": time})
        owner = self._wabas[waba_id].organization_id
        written = content(entry, field, value)
        change = ExpectedChange(written, field, event, waba_id, owner, facts=facts)
        return _with_changes(entry, field, value), [change]


def broken(number: int) -> ExpectedWebhook:
    """Signed, but not JSON: it was cut off."""
    return ExpectedWebhook(b'{"object":"whatsapp_business_account","entry":[%d' % number, [])


def webhook(*entries: _Entry) -> ExpectedWebhook:
    """Return one webhook with these entries."""
    body = {"object": "whatsapp_business_account", "entry": [entry for entry, _ in entries]}
    return ExpectedWebhook(write(body), [change for _, changes in entries for change in changes])


def _messages(waba_id: str, value: dict[str, Any]) -> dict[str, Any]:
    return _with_changes({"id": waba_id}, "messages", value)


def _with_changes(entry: dict[str, Any], field: str, value: dict[str, Any]) -> dict[str, Any]:
    return entry | {"changes": [{"field": field, "value": value}]}


def _envelope(waba_id: str) -> dict[str, Any]:
    metadata = {"display_phone_number": "15551230000", "phone_number_id": f"2{waba_id[1:]}"}
    return {"messaging_product": "whatsapp", "metadata": metadata}


def _text(number: int, person: str, suffix: str = "") -> dict[str, Any]:
    return {
        "from": person, "id": f"wamid.CHAOS{number}{suffix}", "type": "text",
        "timestamp": str(_FIRST_SECOND + number), "text": {"body": f"olá {number}"},
    }  # fmt: skip


def _contact(person: str) -> dict[str, Any]:
    return {"wa_id": person, "profile": {"name": f"Ana {person[-3:]}"}}
