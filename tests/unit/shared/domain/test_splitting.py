"""Split a webhook: how many changes it gives, and which columns each change has."""

from dataclasses import dataclass
from typing import Any

import orjson
import pytest

from shared.domain.splitting import Change, as_id, split
from tests.support.payloads import names, payload

WABA, OTHER_WABA = "731400000000011", "731400000000022"
PARTNER = "620500000000001"
NUMBER = "509300000000031"
ANA, RUI = "5511955550111", "5511955550122"
#: The form of their numbers under which people are looked for.
ANA_FORM, RUI_FORM = "551155550111", "551155550122"


@dataclass(frozen=True)
class Columns:
    """The columns of a change that are read from its webhook."""

    field: str | None = None
    event: str | None = None
    waba_id: str | None = None
    phone_number_id: str | None = None
    people: frozenset[str] = frozenset()


def columns(change: Change) -> Columns:
    return Columns(*change[1:6])


def messages(event: str, *people: str, waba_id: str = WABA) -> Columns:
    forms = {ANA: ANA_FORM, RUI: RUI_FORM}
    ids = frozenset(forms.get(person, person) for person in people)
    return Columns("messages", event, waba_id, NUMBER, ids)


def account(event: str, waba_id: str | None = WABA) -> Columns:
    return Columns("account_update", event, waba_id)


PAYLOADS = {
    "several_messages_from_two_people": [
        messages("text", ANA),
        messages("text", RUI),
        messages("text", ANA),
    ],
    "messages_and_statuses_together": [
        messages("text", ANA),
        messages("delivered", ANA),
        messages("failed", RUI),
    ],
    "message_from_a_person_without_a_number": [messages("text", "BR.4410029938475610", "bia.lima")],
    "messages_value_with_errors_only": [Columns("messages", None, WABA, NUMBER)],
    "two_wabas_in_one_webhook": [messages("read", ANA), messages("sent", RUI, waba_id=OTHER_WABA)],
    "partner_added_names_the_waba_in_waba_info": [account("PARTNER_ADDED")],
    "app_installed_with_its_field_on_the_entry": [account("PARTNER_APP_INSTALLED")],
    "app_uninstalled_with_its_field_inside_the_value": [account("PARTNER_APP_UNINSTALLED")],
    "partner_removed_with_its_time_quoted": [account("PARTNER_REMOVED")],
    "coexistence_disconnect_without_waba_info": [account("PARTNER_REMOVED")],
    "coexistence_disconnect_with_waba_info": [account("PARTNER_REMOVED")],
    "waba_info_that_names_no_waba": [account("PARTNER_APP_UNINSTALLED", None)],
    "ban_announced": [account("DISABLED_UPDATE")],
    "review_decided": [Columns("account_review_update", "APPROVED", WABA)],
    "history_stays_one_change": [
        Columns("history", None, WABA, NUMBER, frozenset({ANA_FORM, RUI_FORM}))
    ],
    "field_we_do_not_know": [Columns("balloon_update", None, WABA)],
    "object_we_do_not_know": [Columns()],
    "no_envelope_at_all": [Columns()],
    "entry_list_that_is_empty": [],
    "entry_whose_changes_are_empty": [],
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_each_payload_gives_the_changes_in_the_table(name: str) -> None:
    changes = split(orjson.dumps(payload(name)))

    assert [columns(change) for change in changes] == PAYLOADS[name]


def test_every_payload_file_is_in_the_table() -> None:
    assert names() == set(PAYLOADS)


@pytest.mark.parametrize(
    "body",
    [b"null", b"true", b"7", b'"text"', b"[]", b"{}", b'{"entry":{}}', b'{"entry":null}'],
)
def test_json_without_an_entry_list_is_one_change_without_columns(body: bytes) -> None:
    [change] = split(body)

    assert columns(change) == Columns()
    assert orjson.loads(change.content)["value"] == orjson.loads(body)


@pytest.mark.parametrize("entry", [None, 7, "text", [], {}, {"changes": {}}])
def test_an_entry_of_an_unknown_shape_is_one_change(entry: Any) -> None:
    [unknown, valid] = split(
        orjson.dumps({"entry": [entry, *payload("ban_announced")["entry"]]}),
    )

    assert columns(unknown) == Columns()
    assert orjson.loads(unknown.content)["value"] == entry
    assert columns(valid) == account("DISABLED_UPDATE")


def test_an_envelope_of_an_unknown_shape_keeps_its_id_time_and_field() -> None:
    odd = {"id": WABA, "time": 1793010700, "field": "account_update", "changes": "none"}
    for body in (odd, {"entry": [odd]}):
        [change] = split(orjson.dumps(body))
        assert columns(change) == Columns("account_update", None, WABA)
        assert orjson.loads(change.content)["entry"] == {"id": WABA, "time": 1793010700}


@pytest.mark.parametrize("change", [None, 7, "text", [], {}, {"value": None}])
def test_a_change_of_an_unknown_shape_is_kept_whole(change: Any) -> None:
    [result] = split(orjson.dumps({"entry": [{"id": WABA, "changes": [change]}]}))

    assert columns(result) == Columns(waba_id=WABA)
    assert orjson.loads(result.content)["value"] == change


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("731400000000011", "731400000000011"),
        (731400000000011, "731400000000011"),
        ("1" * 20, "1" * 20),
        ("1" * 21, None),
        ("", None),
        ("12 ", None),
        ("12\n", None),
        ("١٢٣", None),
        (-5, None),
        (1.0, None),
        (True, None),
        (None, None),
        (["1"], None),
    ],
)
def test_an_id_is_one_to_twenty_ascii_digits_or_it_is_none(
    value: object, expected: str | None
) -> None:
    assert as_id(value) == expected
