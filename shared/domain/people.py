"""The people a change names: each of their ids, in the one form under which it is looked for."""

import re
from typing import Any, Final

PERSON: Final = re.compile(r"[A-Za-z0-9.:_-]{1,128}")
#: A phone number as people write it, and what is left out of it.
_NUMBER: Final = re.compile(r"\+?[0-9][0-9 ().-]{4,30}")
_NOT_A_DIGIT: Final = re.compile(r"[^0-9]+")
#: Countries whose mobile numbers Meta writes in two forms: with and without one digit more. Where
#: that is: Brazil's ninth digit, the digit of a mobile number in Argentina and Mexico.
_DIGIT_MORE: Final = {"55": (4, "9"), "54": (2, "9"), "52": (2, "1")}
_DIGITS_WITH_IT: Final = 13

_ANYWHERE: Final[frozenset[str]] = frozenset()
_WHEN: Final = frozenset({"wa_id", "user_id", "parent_user_id"})
#: The names under which Meta's fields hold a person's id, at any depth; with the names of what may
#: be around it where one name has several meanings. `from` and `to` may also be the business
#: itself.
_NAMES: Final[dict[str, frozenset[str]]] = {
    **dict.fromkeys(
        ("from", "to", "wa_id", "new_wa_id", "user_id", "parent_user_id", "customer"), _ANYWHERE
    ),
    **{
        f"{who}_{kind}": _ANYWHERE
        for who in ("from", "to", "recipient", "recipient_participant", "sender")
        for kind in ("id", "user_id", "parent_user_id")
    },
    **dict.fromkeys(("previous", "current", "old", "new"), _WHEN),
    "input": frozenset(
        {"participants", "added_participants", "removed_participants", "failed_participants"}
    ),
    "phone_number": frozenset({"contact"}),
    "username": frozenset({"contact", "profile"}),
    "phone": frozenset({"phones"}),
    "id": frozenset({"threads"}),
}
#: An id may be written as a number. (`true` is an int too, and no id.)
_TYPES: Final = (str, int)


def people_of(value: Any) -> frozenset[str]:
    """Return the ids of everyone the JSON value names, each in its `person_form`.

    What is no id is not found: a number inside a text, a name.
    """
    found: set[str] = set()
    _collect(value, "", found)
    return frozenset(form for id_ in found if (form := person_form(id_)))


def person_form(text: str) -> str | None:
    """Return the one form of a person's id; None if it is none.

    Of a phone number that is its digits; where a country has two forms, the shorter one.
    """
    if not _NUMBER.fullmatch(text):
        return text if PERSON.fullmatch(text) else None
    digits = text if text.isdigit() else _NOT_A_DIGIT.sub("", text)
    if len(digits) == _DIGITS_WITH_IT and digits[:2] in _DIGIT_MORE:
        place, digit = _DIGIT_MORE[digits[:2]]
        if digits[place] == digit:
            return digits[:place] + digits[place + 1 :]
    return digits


def pattern_of(person: str) -> re.Pattern[bytes]:
    """Return what finds a person's id anywhere in a text: a number in each of its forms, however it
    is grouped. `person` has a `person_form`."""
    form = person_form(person) or ""
    if not form.isdigit():
        return re.compile(rb"(?<![A-Za-z0-9_])%b(?![A-Za-z0-9_])" % re.escape(form.encode()))
    digits = list(form)
    if len(form) == _DIGITS_WITH_IT - 1 and form[:2] in _DIGIT_MORE:
        place, digit = _DIGIT_MORE[form[:2]]
        digits[place - 1] += f"[ ().-]*{digit}?"
    return re.compile(rb"(?<![0-9])%b(?![0-9])" % "[ ().-]*".join(digits).encode())


def _collect(value: Any, around: str, found: set[str]) -> None:
    """Add the ids in a JSON value, which is under the name `around`."""
    if type(value) is list:
        for inner in value:
            _collect(inner, around, found)
    elif type(value) is dict:
        for name, inner in value.items():
            if type(inner) not in _TYPES:
                _collect(inner, name, found)
            elif (places := _NAMES.get(name)) is not None:
                is_of_a_group = name == "recipient_id" and _is_of_a_group(value)
                if (not places or around in places) and not is_of_a_group:
                    found.add(str(inner))


def _is_of_a_group(receipt: dict[str, Any]) -> bool:
    return receipt.get("recipient_type") == "group" or not receipt.keys().isdisjoint(
        ("recipient_participant_id", "recipient_participant_user_id")
    )
