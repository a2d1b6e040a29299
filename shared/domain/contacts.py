"""Which contacts of a change belong to which of its items."""

from collections.abc import Sequence
from typing import Any

from shared.domain.json_object import Json
from shared.domain.people import people_of


def assign_contacts(items: Sequence[Any], value: Json) -> tuple[Sequence[Json], Json]:
    """Return the contacts of each item of the value, and those that are left, each as
    `{"contacts": [...]}`: empty if there are none.

    A lone item gets them all. Of several, one gets the contacts that name one of its people; all
    contacts with each item would square the size. Nothing is dropped: a contact of nobody, or
    `contacts` that are no list, is left.
    """
    contacts = value.get("contacts")
    if not isinstance(contacts, list):
        return [{}] * len(items), {} if contacts is None else {"contacts": contacts}
    if len(items) == 1:
        return [_contacts(contacts)], {}
    numbers_of: dict[str, list[int]] = {}
    for number, contact in enumerate(contacts):
        for person in people_of(contact):
            numbers_of.setdefault(person, []).append(number)
    assigned: list[Json] = []
    is_left = [True] * len(contacts)
    for item in items:
        numbers = sorted({n for person in people_of(item) for n in numbers_of.get(person, ())})
        assigned.append(_contacts([contacts[number] for number in numbers]))
        for number in numbers:
            is_left[number] = False
    return assigned, _contacts([contacts[n] for n, left in enumerate(is_left) if left])


def _contacts(contacts: list[Any]) -> Json:
    return {"contacts": contacts} if contacts else {}
