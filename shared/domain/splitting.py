"""Split a raw webhook into its changes.

Any bytes give either changes or Unparsable, whoever sent them.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice
from typing import Any

import orjson
from pydantic_core import from_json

ID = re.compile(r"[0-9]{1,20}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
PERSON = re.compile(r"[A-Za-z0-9.:_-]{1,128}")

#: The keys under which an item and a contact name a person.
_PERSON_KEYS = ("from", "recipient_id", "wa_id", "from_user_id", "user_id")
_CONTACT_KEYS = ("wa_id", "user_id")
_ITEM_LISTS = ("messages", "statuses")


#: Meta puts up to 1,000 updates into one webhook (Webhooks overview, Apr 2026). A change costs some
#: 25 us of computing.
MAX_CHANGES = 5_000
#: What a number that is too large for a double has: an exponent of three digits, or 309 digits.
_HUGE_NUMBER = re.compile(rb"[0-9.][eE]\+?[0-9]{3}|[0-9]{309}")


class Unparsable(Exception):
    """The bytes are not JSON that we can store exactly. The text says why and quotes no content."""

    code = "unparsable"


@dataclass(frozen=True, slots=True)
class Change:
    """One change of one entry, or one message or status inside it.

    Its texts are ids and names that matched a narrow pattern, else None: we trust no other text
    from outside. `content` is the canonical JSON of this piece: enough to handle it alone.
    """

    key: bytes
    field: str | None
    event: str | None
    waba_id: str | None
    phone_number_id: str | None
    subject: str | None
    content: bytes


def split(body: bytes, *, is_test: bool = False) -> list[Change]:
    """Return every change of a webhook, in the webhook's order. Raise Unparsable.

    Of a webhook with more than MAX_CHANGES changes none is returned.

    The same change gets the same key in any webhook, at any place and in any JSON notation. Two
    changes that differ anywhere get different keys. `trackingCode` is read from a test webhook
    only: in a webhook from Meta it would be an unproven statement of a third party.
    """
    try:
        # from_json is exact where orjson is not: an integer of more than 64 bits stays an integer.
        # _canonical then refuses it.
        parsed = from_json(body, allow_inf_nan=False, cache_strings="keys")
        pieces = list(islice(_pieces(parsed), MAX_CHANGES + 1))
        if len(pieces) > MAX_CHANGES:
            raise Unparsable(f"more than {MAX_CHANGES:,} changes")
        extra = _tracking_code(parsed) if is_test else {}
        changes = [_change(entry | extra, *rest) for entry, *rest in pieces]
        # orjson writes a number that is too large as null. Cheap checks come first.
        may_be_lost = any(b"null" in change.content for change in changes)
        if may_be_lost and _HUGE_NUMBER.search(body) and _contains_infinity(parsed):
            raise ValueError("number out of range")
        return changes
    except (ValueError, TypeError, RecursionError) as error:
        raise Unparsable(_reason(error)) from None


def _reason(error: Exception) -> str:
    text = str(error)
    for fragment, reason in (
        ("recursion limit", "nested too deeply"),
        ("Recursion limit", "nested too deeply"),
        ("64-bit", "a number too large to hold exactly"),
        ("number out of range", "a number too large to hold exactly"),
        ("unicode", "not valid UTF-8"),
        ("hex escape", "a lone surrogate"),
        ("surrogate", "a lone surrogate"),
        ("control character", "a raw control character"),
    ):
        if fragment in text:
            return reason
    return "not valid JSON"


#: The list that holds a message or status, and the item itself.
_Item = tuple[str, Any]
#: entry, field, the change's value, the item in the value (None: the change is the whole value)
_Piece = tuple[dict[str, Any], object, Any, _Item | None]


def _pieces(parsed: Any) -> Iterator[_Piece]:
    """Yield the webhook's pieces. An unknown shape is one piece: it is stored, never an error."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("entry"), list):
        yield _entry_header(parsed), _field_of(parsed), parsed, None
        return
    for entry in parsed["entry"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
            yield _entry_header(entry), _field_of(entry), entry, None
            continue
        for change in entry["changes"]:
            value = change.get("value") if isinstance(change, dict) else change
            # Meta's own examples put `field` on the entry or inside the value (account_update).
            field = _field_of(change) or _field_of(value) or _field_of(entry)
            for part, item in _items(field, value if value is not None else change):
                yield _entry_header(entry), field, part, item


def _tracking_code(parsed: Any) -> dict[str, Any]:
    code = parsed.get("trackingCode") if isinstance(parsed, dict) else None
    return {"tracking_code": code} if isinstance(code, str) else {}


def _entry_header(entry: Any) -> dict[str, Any]:
    return {k: entry[k] for k in ("id", "time") if k in entry} if isinstance(entry, dict) else {}


def _field_of(place: Any) -> object:
    return place.get("field") if isinstance(place, dict) else None


def _items(field: object, value: Any) -> Iterator[tuple[Any, _Item | None]]:
    """Yield each message and status of a `messages` value alone, with its metadata and contact."""
    lists = [name for name in _ITEM_LISTS if isinstance(value, dict) and value.get(name)]
    if field != "messages" or not lists or not all(isinstance(value[n], list) for n in lists):
        yield value, None
        return
    shared = {k: value[k] for k in ("messaging_product", "metadata") if k in value}
    contacts = _contacts_by_id(value.get("contacts"))
    for name in lists:
        for item in value[name]:
            yield shared | _contact_of(item, contacts) | {name: [item]}, (name, item)
    handled = (*shared, *_ITEM_LISTS, "contacts")
    if rest := {k: v for k, v in value.items() if k not in handled}:
        yield shared | rest, None


def _contacts_by_id(contacts: Any) -> dict[str, Any]:
    if not isinstance(contacts, list):
        return {}
    return {
        person: contact
        for contact in contacts
        if isinstance(contact, dict)
        for key in _CONTACT_KEYS
        if isinstance(person := contact.get(key), str)
    }


def _contact_of(item: Any, contacts: dict[str, Any]) -> dict[str, Any]:
    """Return only the item's own contact. All contacts with each item would square the size."""
    people = [item.get(key) for key in _PERSON_KEYS] if isinstance(item, dict) else []
    for person in people:
        if isinstance(person, str) and person in contacts:
            return {"contacts": [contacts[person]]}
    return {}


def _change(entry: dict[str, Any], field: object, value: Any, part: _Item | None) -> Change:
    name, item = part or (None, None)
    canonical = _canonical(value if part is None else item)
    value_fields = value if isinstance(value, dict) else {}
    metadata = value_fields.get("metadata")
    number = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
    has_timestamp = isinstance(item, dict) and item.get("timestamp") is not None
    time = None if has_timestamp else entry.get("time")
    source = item if isinstance(item, dict) else value_fields
    return Change(
        key=_key(_canonical([entry.get("id"), field, number, time, name]), canonical),
        field=_match(NAME, field),
        event=_event(source),
        waba_id=_waba_id(entry, value_fields),
        phone_number_id=as_id(number),
        subject=_subject(source),
        content=_canonical({"entry": entry, "field": field, "value": value}),
    )


def _key(place: bytes, item: bytes) -> bytes:
    return sha256(b"%d:%b%b" % (len(place), place, item)).digest()


def _canonical(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def _contains_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_contains_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_contains_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _event(source: dict[str, Any]) -> str | None:
    for name in ("event", "status", "type", "decision"):
        if (event := _match(NAME, source.get(name))) is not None:
            return event
    return None


def _waba_id(entry: dict[str, Any], value: dict[str, Any]) -> str | None:
    """If there is a `waba_info`, the entry's id is a business (`account_update`, Apr 2026)."""
    info = value.get("waba_info")
    if isinstance(info, dict):
        return as_id(info.get("waba_id"))
    return as_id(entry.get("id"))


def _subject(source: dict[str, Any]) -> str | None:
    """Return the person the change is about: the sender or the recipient."""
    for name in _PERSON_KEYS:
        if (person := _match(PERSON, source.get(name))) is not None:
            return person
    return None


def as_id(value: object) -> str | None:
    """Return the id of Meta's in `value`, given as text or number; None if it is not an id."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _match(ID, value)


def _match(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
