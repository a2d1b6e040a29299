"""A person's id has one form, and is found in a text in any of its forms."""

import pytest

from shared.domain.people import pattern_of, people_of, person_form
from shared.domain.splitting import split


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("5511987654321", "551187654321"),
        ("551187654321", "551187654321"),
        ("5511887654321", "5511887654321"),
        ("5491123456789", "541123456789"),
        ("5215512345678", "525512345678"),
        ("4915512345678", "4915512345678"),
        ("+55 (11) 98765-4321", "551187654321"),
        ("12345", "12345"),
        ("BR.4410029938475610", "BR.4410029938475610"),
        ("a b", None),
        ("", None),
        ("\u0661\u0662\u0663\u0664\u0665", None),
    ],
)
def test_a_person_has_one_form(text: str, form: str | None) -> None:
    assert person_form(text) == form


@pytest.mark.parametrize("person", ["5511987654321", "551187654321", "+55 11 98765-4321"])
@pytest.mark.parametrize(
    ("text", "is_found"),
    [
        ("ligue 5511987654321.", True),
        ("551187654321", True),
        ("+55 (11) 98765-4321", True),
        ("+55 (11) 8765-4321", True),
        ('"wa_id":"551187654321"', True),
        ("15511987654321", False),
        ("55119876543210", False),
        ("55 11 98765 432", False),
    ],
)
def test_a_number_is_found_in_a_text_however_it_is_written(
    person: str, text: str, is_found: bool
) -> None:
    assert bool(pattern_of(person).search(text.encode())) is is_found


@pytest.mark.parametrize(
    ("text", "is_found"),
    [("de BR.44.", True), ("BR.441", False), ("xBR.44", False), ("BRx44", False)],
)
def test_an_id_is_found_as_it_is(text: str, is_found: bool) -> None:
    assert bool(pattern_of("BR.44").search(text.encode())) is is_found


@pytest.mark.parametrize(
    ("value", "people"),
    [
        ({"from": "BR.1"}, {"BR.1"}),
        ({"from": 1}, {"1"}),
        ({"from": True, "to": 1.5}, set()),
        ([[{"to": "BR.1"}], "BR.2"], {"BR.1"}),
        ({"user_id": {"previous": "BR.1", "current": "BR.2"}}, {"BR.1", "BR.2"}),
        ({"status": {"previous": "BR.1"}}, set()),
        ({"participants": [{"input": "BR.1"}], "input": "BR.2"}, {"BR.1"}),
        ({"recipient_id": "1", "recipient_type": "group"}, set()),
        ({"recipient_id": "1", "recipient_participant_user_id": "BR.1"}, {"BR.1"}),
        ({"recipient_id": "1"}, {"1"}),
        ("BR.1", set()),
    ],
)
def test_ids_are_found_under_their_names_at_any_depth(value: object, people: set[str]) -> None:
    assert people_of(value) == people


def test_an_id_written_as_a_number_is_found_in_an_item_that_cannot_be_stored_exactly() -> None:
    items = '{"id": "a"}, {"text": "\\ud800", "from": 15550001}'
    value = f'{{"field": "messages", "value": {{"messages": [{items}]}}}}'
    _, bad = split(f'{{"entry": [{{"id": "7314", "changes": [{value}]}}]}}'.encode())
    assert bad.error is not None
    assert bad.people == {"15550001"}
