"""Every contact is in a piece: with its own message or status, or with what is left."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.splitting import UNMATCHED_CONTACTS, split
from tests.support.splits import contents, with_value

ANA, RUI, GROUP = "5511955550111", "5511955550122", "120363000000000001"
OTHER_MESSAGE = {"id": "wamid.other", "from": RUI, "type": "text"}


def pieces(value: dict[str, Any]) -> list[dict[str, Any]]:
    return [content["value"] for content in contents(with_value(value))]


@pytest.mark.parametrize(
    ("item", "contact"),
    [
        ({"from": ANA}, {"wa_id": ANA}),
        ({"from_user_id": "BR.1"}, {"user_id": "BR.1"}),
        ({"recipient_user_id": "BR.1"}, {"user_id": "BR.1", "wa_id": "5521900000000"}),
        ({"recipient_id": GROUP, "recipient_participant_id": ANA}, {"wa_id": ANA}),
        ({"from": "5215512345678"}, {"wa_id": "525512345678"}),
        ({"from": "541123456789"}, {"wa_id": "5491123456789"}),
        ({"from": "5511987654321"}, {"wa_id": "551187654321"}),
    ],
)
def test_an_item_has_the_contact_of_its_person(
    item: dict[str, Any], contact: dict[str, Any]
) -> None:
    contacts = [{"wa_id": RUI}, contact]
    statuses = [{"id": "wamid.1", "status": "read"} | item]
    found, other = sorted(
        pieces({"messages": [OTHER_MESSAGE], "statuses": statuses, "contacts": contacts}),
        key=lambda piece: "messages" in piece,
    )
    assert found["contacts"] == [contact]
    assert other["contacts"] == [{"wa_id": RUI}]


@pytest.mark.parametrize(
    "contact", [{"profile": {"name": "Ana"}}, {"wa_id": "1"}, {"wa_id": 5}, "Ana", None]
)
def test_a_contact_of_nobody_stays_with_a_lone_item_or_is_kept_alone(contact: object) -> None:
    [lone] = pieces({"messages": [OTHER_MESSAGE], "contacts": [contact]})
    assert lone["contacts"] == [contact]
    two = {"messages": [OTHER_MESSAGE, OTHER_MESSAGE | {"id": "2"}]}
    *items, left = pieces(two | {"contacts": [contact, {"wa_id": RUI}]})
    assert [item["contacts"] for item in items] == [[{"wa_id": RUI}]] * 2
    assert left == {"contacts": [contact]}


def test_what_is_left_of_contacts_is_no_event_of_its_own_and_changes_no_key() -> None:
    two = [OTHER_MESSAGE, OTHER_MESSAGE | {"id": "2"}]
    errors = {"errors": [{"code": 131000}]}

    def changes(value: dict[str, Any]) -> list[tuple[str | None, bytes]]:
        return [(c.event, c.key) for c in split(orjson.dumps(with_value(value)))]

    *_, alone = changes({"messages": two, "contacts": [{"wa_id": "1"}]})
    assert alone[0] == UNMATCHED_CONTACTS
    with_errors = changes({"messages": two, "contacts": [{"wa_id": "1"}]} | errors)
    assert with_errors == changes({"messages": two} | errors)
    assert [event for event, _ in with_errors] == ["text", "text", None]


IDS = st.sampled_from([ANA, RUI, GROUP, "BR.1", "5215512345678", "525512345678"])
CONTACTS = st.lists(st.fixed_dictionaries({}, optional={"wa_id": IDS, "user_id": IDS}), max_size=5)
ITEMS = st.lists(
    st.fixed_dictionaries(
        {"id": st.uuids().map(str)},
        optional={"from": IDS, "recipient_user_id": IDS, "recipient_participant_id": IDS},
    ),
    min_size=1,
    max_size=4,
)


@given(ITEMS, CONTACTS)
def test_no_contact_is_lost_and_none_is_given_to_a_stranger(
    items: list[dict[str, str]], contacts: list[dict[str, str]]
) -> None:
    marked = [contact | {"mark": number} for number, contact in enumerate(contacts)]
    found = pieces({"messages": items, "contacts": marked})
    marks = {contact["mark"] for piece in found for contact in piece.get("contacts", ())}
    assert marks == set(range(len(contacts)))
    if len(items) > 1:
        for piece in found:
            for message in piece.get("messages", ()):
                people = {message.get(key) for key in message} | {"525512345678"}
                for contact in piece.get("contacts", ()):
                    ids = {contact.get("wa_id"), contact.get("user_id")}
                    assert ids & people or "5215512345678" in ids
