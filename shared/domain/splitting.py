"""Split a raw webhook into its changes.

Any bytes give either changes or Unparsable, whoever sent them.
"""

import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from hashlib import sha256
from itertools import islice
from typing import Any, NamedTuple

from shared.domain import exact_json
from shared.domain.contacts import assign_contacts
from shared.domain.exact_json import FAULTS, Unparsable, canonical
from shared.domain.fields import Field, at, described
from shared.domain.json_object import Json
from shared.domain.people import people_of

#: Meta's ids are digits. `0` is that of the dashboard's test button, and nobody's.
ID = re.compile(r"(?!0+\Z)[0-9]{1,20}")
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
_SECONDS = re.compile(r"[0-9]{1,10}")

#: The event of a change that holds only contacts of which no item is. It is kept, so that its
#: people can be found, and told to nobody.
UNMATCHED_CONTACTS = "unmatched_contacts"
#: What sends webhooks about WABAs. The entries of other objects have other ids.
WABA_OBJECT = "whatsapp_business_account"

#: Meta puts up to 1,000 updates into one webhook (Webhooks overview, Apr 2026). A change costs some
#: 25 us of computing. A value of more items than this is not split.
MAX_CHANGES = 5_000
#: How much of a SHA-256 is in a key: enough that no two changes ever share one.
_DIGEST_BYTES = 16
#: The names beside a value's items that every item keeps.
_SHARED = ("messaging_product", "metadata", "display_phone_number")
_NUMBER = ("metadata", "phone_number_id")


class Change(NamedTuple):
    """One change of one entry, or one item of it.

    Its texts are ids and names that matched a narrow pattern, else None: we trust no other text
    from outside. `people` are the ids of everyone it names, each in its `person_form`. `content` is
    the canonical JSON of this piece: enough to handle it alone. `error` is why it cannot be stored
    exactly: `content` is then its JSON as it was written, with the escapes kept.

    `digest` was the key in the version before this one. `whole_key` is the key of the change that
    it stored in the place of several.
    """

    key: bytes
    field: str | None
    event: str | None
    waba_id: str | None
    phone_number_id: str | None
    people: frozenset[str]
    content: bytes
    digest: bytes
    whole_key: bytes | None = None
    error: Unparsable | None = None


def split(body: bytes, *, is_test: bool = False) -> list[Change]:
    """Return every change of a webhook, in the webhook's order. Raise Unparsable.

    Of a webhook with more than MAX_CHANGES changes none is returned. What cannot be stored exactly
    is a change with an error; if nothing else is in the webhook, it is Unparsable.

    The same change gets the same key in any webhook, at any place and in any JSON notation. Two
    changes that differ anywhere get different keys. `trackingCode` is read from a test webhook
    only: in a webhook from Meta it would be an unproven statement of a third party.
    """
    try:
        parsed = exact_json.parse(body)
        changes = [_change(piece) for piece in _all_pieces(parsed, is_test=is_test)]
        # orjson writes a number that is too large as null. Cheap checks come first.
        may_be_lost = any(b"null" in change.content for change in changes)
        if may_be_lost and exact_json.may_hold_huge_number(body):
            exact_json.refuse_infinity(parsed)
        return changes
    except FAULTS as error:
        return _split_faulty(body, error, is_test=is_test)


def _split_faulty(body: bytes, fault: Exception, *, is_test: bool) -> list[Change]:
    try:
        parsed, exact = exact_json.parse_faulty(body)
        pieces = zip(
            _all_pieces(parsed, is_test=is_test), _all_pieces(exact, is_test=is_test), strict=True
        )
        changes = [_faulty_or_whole(piece, written) for piece, written in pieces]
    except FAULTS:
        raise Unparsable(exact_json.reason(fault)) from None
    if all(change.error for change in changes):
        raise Unparsable(exact_json.reason(fault))
    return changes


class _Place(NamedTuple):
    """Where in a webhook a change of Meta's was. `header` is what every piece of it keeps."""

    header: Json
    entry: Json
    field: object
    description: Field


class _Piece(NamedTuple):
    """A part of a change of Meta's. `part` is what makes it its own; `list` is where that was, and
    `time` when it happened, if it is an item.

    `whole_key` gives the key of the change that the version before this one made of the whole
    value; None: it made the same of it.
    """

    place: _Place
    value: Any
    part: Any
    list: str | None = None
    time: object = None
    whole_key: Callable[[], bytes] | None = None


def _all_pieces(parsed: Any, *, is_test: bool) -> list[_Piece]:
    pieces = list(islice(_pieces(parsed, _header(parsed, is_test=is_test)), MAX_CHANGES + 1))
    if len(pieces) > MAX_CHANGES:
        raise Unparsable(f"more than {MAX_CHANGES:,} changes")
    return pieces


def _header(parsed: Any, *, is_test: bool) -> Json:
    """Return what every piece of the webhook keeps: a test's tracking code, another object."""
    header: Json = {}
    if isinstance(parsed, dict):
        if is_test:
            if isinstance(code := parsed.get("trackingCode"), str):
                header["tracking_code"] = code
        elif parsed.get("object", WABA_OBJECT) != WABA_OBJECT:
            header["object"] = parsed["object"]
    return header


def _pieces(parsed: Any, header: Json) -> Iterator[_Piece]:
    """Yield the webhook's pieces. An unknown shape is one piece: it is stored, never an error."""
    if not isinstance(parsed, dict) or not isinstance(parsed.get("entry"), list):
        yield _Piece(_place(header, parsed, _field_of(parsed)), parsed, parsed)
        return
    for entry in parsed["entry"]:
        if not isinstance(entry, dict) or not isinstance(entry.get("changes"), list):
            yield _Piece(_place(header, entry, _field_of(entry)), entry, entry)
            continue
        for change in entry["changes"]:
            value = change.get("value") if isinstance(change, dict) else change
            # Meta's own examples put `field` on the entry or inside the value (account_update).
            field = _field_of(change) or _field_of(value) or _field_of(entry)
            place = _place(header, entry, field)
            yield from _parts(place, change if value is None else value)


def _place(header: Json, entry: Any, field: object) -> _Place:
    kept = {k: entry[k] for k in ("id", "time") if k in entry} if isinstance(entry, dict) else {}
    return _Place(header, kept, field, described(field))


def _field_of(place: Any) -> object:
    return place.get("field") if isinstance(place, dict) else None


def _parts(place: _Place, value: Any) -> list[_Piece]:
    """Return each item of a value alone, with its metadata and contacts, then what is left.

    What is left has no item. Its contacts are no part of what makes it its own, unless it has
    nothing else.
    """
    names = place.description.lists if isinstance(value, dict) else ()
    lists = [name for name in names if isinstance(value.get(name), list)]
    items = [(name, item) for name in lists for item in value[name]]
    if not names or len(items) > MAX_CHANGES:
        return [_Piece(place, value, value)]
    shared, rest = {}, {}
    for name, inner in value.items():
        if name in _SHARED:
            shared[name] = inner
        elif name not in lists and name != "contacts":
            rest[name] = inner
    whole_key = None
    if place.field != "messages" or not items:
        # Once for all parts: what it is made of is as large as all of them.
        whole_key = cache(partial(_whole_key, place, value))
    if not items:
        return [_Piece(place, value, shared | rest if rest else value, whole_key=whole_key)]
    time = place.description.time
    assigned, left = assign_contacts([item for _, item in items], value)
    parts = [
        _Piece(place, {**shared, name: [item], **own}, item, name, at(time, item), whole_key)
        for (name, item), own in zip(items, assigned, strict=True)
    ]
    if rest:
        parts.append(_Piece(place, shared | rest | left, shared | rest, whole_key=whole_key))
    elif left:
        parts.append(_Piece(place, shared | left, left, UNMATCHED_CONTACTS, whole_key=whole_key))
    return parts


def _change(piece: _Piece) -> Change:
    own_key = _digest(canonical(_identity(piece)), canonical(piece.part))
    whole_key = piece.whole_key() if piece.whole_key else own_key
    content = canonical(_content(piece))
    return _with_columns(piece, own_key, content, None if whole_key == own_key else whole_key)


def _faulty_or_whole(piece: _Piece, written: _Piece) -> Change:
    """Return the change of a piece or, if it cannot be stored exactly, one with the error."""
    try:
        exact_json.refuse_infinity([piece.place.entry, piece.value])
        return _change(piece)
    except FAULTS as error:
        fault = exact_json.reason(error)
    digest = _digest(exact_json.escaped(_identity(written)), exact_json.escaped(written.part))
    content = exact_json.escaped(_content(written))
    return _with_columns(written, digest, content, error=Unparsable(fault))


def _with_columns(
    piece: _Piece,
    digest: bytes,
    content: bytes,
    whole_key: bytes | None = None,
    error: Unparsable | None = None,
) -> Change:
    (header, entry, field, description), value, part, name, time, _ = piece
    return Change(
        key=_key(digest, as_seconds(entry.get("time") if time is None else time)),
        digest=digest,
        field=_match(NAME, field),
        event=UNMATCHED_CONTACTS if name == UNMATCHED_CONTACTS else _event(description, part),
        waba_id=None if "object" in header else _waba_id(entry, value),
        phone_number_id=as_id(at(description.number, value)),
        people=people_of(value),
        content=content,
        whole_key=whole_key,
        error=error,
    )


def _identity(piece: _Piece) -> list[Any]:
    """Return what tells equal parts apart. A part without a time of its own has its entry's."""
    (_, entry, field, _), value, _, name, time, _ = piece
    number = at(_NUMBER, value)
    return [entry.get("id"), field, number, entry.get("time") if time is None else None, name]


def _whole_key(place: _Place, value: Any) -> bytes:
    return _digest(canonical(_identity(_Piece(place, value, value))), canonical(value))


def _content(piece: _Piece) -> Json:
    (header, entry, field, _), value, *_ = piece
    header = dict(header)
    if (code := header.pop("tracking_code", None)) is not None:
        entry = entry | {"tracking_code": code}
    return {"entry": entry, "field": field, "value": value} | header


def _digest(place: bytes, item: bytes) -> bytes:
    return sha256(b"%d:%b%b" % (len(place), place, item)).digest()


def _key(digest: bytes, seconds: int | None) -> bytes:
    """Return the digest, cut and led by the second that the piece is from, if that is known.

    So new keys are neighbours in their index, which grows at its end (docs/decisions/0020). The
    time is part of what is digested: keys are equal exactly where digests are.
    """
    return digest if seconds is None else seconds.to_bytes(4) + digest[:_DIGEST_BYTES]


def _event(field: Field, part: Any) -> str | None:
    for path in field.event:
        event = _match(NAME, at(path, part))
        if event is not None and event != UNMATCHED_CONTACTS:
            return event
    return None


def _waba_id(entry: Json, value: Any) -> str | None:
    """If there is a `waba_info`, the entry's id is a business (`account_update`, Apr 2026)."""
    if isinstance(info := at(("waba_info",), value), dict):
        return as_id(info.get("waba_id"))
    return as_id(entry.get("id"))


def as_id(value: object) -> str | None:
    """Return the id of Meta's in `value`, given as text or number; None if it is not an id."""
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    return _match(ID, value)


def as_seconds(value: object) -> int | None:
    """Return a time of Meta's, in seconds since 1970, given as text or number; None if it is none,
    or too large for four bytes."""
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    seconds = int(text) if _SECONDS.fullmatch(text) else None
    return None if seconds is None or seconds >= 2**32 else seconds


def _match(pattern: re.Pattern[str], value: object) -> str | None:
    return value if isinstance(value, str) and pattern.fullmatch(value) else None
