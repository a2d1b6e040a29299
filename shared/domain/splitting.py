"""From one raw webhook to its changes: total over whatever Meta, or anybody, may send."""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import orjson
from pydantic_core import from_json

ID = re.compile(r"[0-9]{1,20}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
PERSON = re.compile(r"[A-Za-z0-9.:_-]{1,128}")

#: Where an item names its person, and where a contact does.
_PERSON_KEYS = ("from", "recipient_id", "wa_id", "from_user_id", "user_id")
_CONTACT_KEYS = ("wa_id", "user_id")
_ITEM_LISTS = ("messages", "statuses")


class Unparsable(Exception):
    """The bytes are not JSON we can hold exactly; the text says why, never what."""

    code = "unparsable"


@dataclass(frozen=True, slots=True)
class Change:
    """One entry x change, or one message or status of it.

    Texts are ids and names that matched a narrow pattern, else None: bytes from outside are never
    text to us. `content` is the canonical JSON of the piece, enough to handle it alone.
    """

    key: bytes
    field: str | None
    event: str | None
    waba_id: str | None
    phone_number_id: str | None
    subject: str | None
    content: bytes


def split(body: bytes, *, is_test: bool = False) -> list[Change]:
    """Every change of a webhook, in its order. Raises Unparsable.

    The same change gives the same key wherever it stands and however its JSON is written, and two
    changes that differ anywhere differ in their key. Only a test webhook's `trackingCode` is read:
    in an object of Meta's it would be somebody else's claim.
    """
    try:
        # Exact where orjson is not: an integer past 64 bits stays one, and has no canonical form.
        parsed = from_json(body, allow_inf_nan=False, cache_strings="keys")
        around = _tracking_code(parsed) if is_test else {}
        return [_change(entry | around, *rest) for entry, *rest in _pieces(parsed)]
    except (ValueError, TypeError, RecursionError) as error:
        raise Unparsable(_reason(error)) from None


def _reason(error: Exception) -> str:
    text = str(error)
    for told, reason in (
        ("recursion limit", "nested too deeply"),
        ("Recursion limit", "nested too deeply"),
        ("64-bit", "a number too large to hold exactly"),
        ("number out of range", "a number too large to hold exactly"),
        ("unicode", "not valid UTF-8"),
        ("hex escape", "a lone surrogate"),
        ("surrogate", "a lone surrogate"),
        ("control character", "a raw control character"),
    ):
        if told in text:
            return reason
    return "not valid JSON"


#: entry, field, the change's value, the item in it that makes the change its own (or None)
_Item = tuple[str, Any]
_Piece = tuple[dict[str, Any], object, Any, _Item | None]


def _pieces(parsed: Any) -> Iterator[_Piece]:
    """Unknown shapes are one piece each, with nothing known about them: stored, never an error."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("entry"), list):
        yield _envelope_of(parsed), _field_of(parsed), parsed, None
        return
    for entry in parsed["entry"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
            yield _envelope_of(entry), _field_of(entry), entry, None
            continue
        for change in entry["changes"]:
            value = change.get("value") if isinstance(change, dict) else change
            # Meta's own examples put `field` on the entry or inside the value (account_update).
            field = _field_of(change) or _field_of(value) or _field_of(entry)
            for part, item in _items(field, value if value is not None else change):
                yield _envelope_of(entry), field, part, item


def _tracking_code(parsed: Any) -> dict[str, Any]:
    code = parsed.get("trackingCode") if isinstance(parsed, dict) else None
    return {"tracking_code": code} if isinstance(code, str) else {}


def _envelope_of(entry: Any) -> dict[str, Any]:
    return {k: entry[k] for k in ("id", "time") if k in entry} if isinstance(entry, dict) else {}


def _field_of(place: Any) -> object:
    return place.get("field") if isinstance(place, dict) else None


def _items(field: object, value: Any) -> Iterator[tuple[Any, _Item | None]]:
    """A `messages` value holds many: each goes alone, with what describes it."""
    lists = [name for name in _ITEM_LISTS if isinstance(value, dict) and value.get(name)]
    if field != "messages" or not lists or not all(isinstance(value[n], list) for n in lists):
        yield value, None
        return
    around = {k: value[k] for k in ("messaging_product", "metadata") if k in value}
    contacts = _contacts_by_id(value.get("contacts"))
    for name in lists:
        for item in value[name]:
            yield around | _contact_of(item, contacts) | {name: [item]}, (name, item)
    apart = (*around, *_ITEM_LISTS, "contacts")
    if rest := {k: v for k, v in value.items() if k not in apart}:
        yield around | rest, None


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
    """Only the item's own contact: all of them with each would square a batch's size."""
    people = [item.get(key) for key in _PERSON_KEYS] if isinstance(item, dict) else []
    for person in people:
        if isinstance(person, str) and person in contacts:
            return {"contacts": [contacts[person]]}
    return {}


def _change(entry: dict[str, Any], field: object, value: Any, part: _Item | None) -> Change:
    name, item = part or (None, None)
    canonical = _canonical(value if part is None else item)
    of = value if isinstance(value, dict) else {}
    metadata = of.get("metadata")
    number = metadata.get("phone_number_id") if isinstance(metadata, dict) else None
    has_timestamp = isinstance(item, dict) and item.get("timestamp") is not None
    time = None if has_timestamp else entry.get("time")
    told_by = item if isinstance(item, dict) else of
    return Change(
        key=_key(_canonical([entry.get("id"), field, number, time, name]), canonical),
        field=_match(NAME, field),
        event=_event(told_by),
        waba_id=_waba_id(entry, of),
        phone_number_id=as_id(number),
        subject=_subject(told_by),
        content=_canonical({"entry": entry, "field": field, "value": value}),
    )


def _key(place: bytes, item: bytes) -> bytes:
    return sha256(b"%d:%b%b" % (len(place), place, item)).digest()


def _canonical(value: Any) -> bytes:
    written = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
    if b"null" in written and _holds_infinity(value):  # `1e999`, which orjson writes as null
        raise ValueError("number out of range")
    return written


def _holds_infinity(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(_holds_infinity, value.values()))
    if isinstance(value, list):
        return any(map(_holds_infinity, value))
    return isinstance(value, float) and math.isinf(value)


def _event(of: dict[str, Any]) -> str | None:
    for name in ("event", "status", "type", "decision"):
        if (event := _match(NAME, of.get(name))) is not None:
            return event
    return None


def _waba_id(entry: dict[str, Any], value: dict[str, Any]) -> str | None:
    """Where `waba_info` names a WABA the entry's id is a business (`account_update`, Apr 2026)."""
    info = value.get("waba_info")
    if isinstance(info, dict):
        return as_id(info.get("waba_id"))
    return as_id(entry.get("id"))


def _subject(item: dict[str, Any]) -> str | None:
    """The person the item is about: who wrote, or who was written to."""
    for name in _PERSON_KEYS:
        if (person := _match(PERSON, item.get(name))) is not None:
            return person
    return None


def as_id(value: object) -> str | None:
    """One of Meta's ids, whether it came as text or as a number; None if it is not one."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _match(ID, value)


def _match(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
