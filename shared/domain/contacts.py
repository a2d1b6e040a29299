"""Which contacts of a change belong to which of its items."""

from collections.abc import Sequence
from typing import Any

from shared.domain.people import people_of


def assign_contacts(items: Sequence[Any], contacts: Any) -> tuple[list[list[Any]], Any]:
    """Return the contacts of each item, and what is left of `contacts`: None if nothing is.

    A lone item gets them all. Of several, one gets the contacts that name one of its people; all
    contacts with each item would square the size. Nothing is dropped: a contact of nobody, or
    `contacts` that are no list, is left.
    """
    if not isinstance(contacts, list):
        return [[] for _ in items], contacts
    if len(items) == 1:
        return [contacts], None
    numbers_of: dict[str, list[int]] = {}
    for number, contact in enumerate(contacts):
        for person in people_of(contact):
            numbers_of.setdefault(person, []).append(number)
    assigned: list[list[Any]] = []
    is_left = [True] * len(contacts)
    for item in items:
        numbers = sorted({n for person in people_of(item) for n in numbers_of.get(person, ())})
        assigned.append([contacts[number] for number in numbers])
        for number in numbers:
            is_left[number] = False
    left = [contact for number, contact in enumerate(contacts) if is_left[number]]
    return assigned, left or None
