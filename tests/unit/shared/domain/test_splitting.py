"""What a webhook is split into: how many changes, and what is known of each."""

from dataclasses import astuple, dataclass
from typing import Any

import orjson
import pytest

from shared.domain.splitting import Change, as_id, split
from tests.support.payloads import names, payload

WABA, OTHER_WABA = "731400000000011", "731400000000022"
PARTNER = "620500000000001"
NUMBER = "509300000000031"
ANA, RUI = "5511955550111", "5511955550122"


@dataclass(frozen=True)
class Known:
    """What the columns say of a change."""

    field: str | None = None
    event: str | None = None
    waba_id: str | None = None
    phone_number_id: str | None = None
    subject: str | None = None


def known(change: Change) -> Known:
    return Known(*astuple(change)[1:6])


def messages(event: str, subject: str | None, waba_id: str = WABA) -> Known:
    return Known("messages", event, waba_id, NUMBER, subject)


def account(event: str, waba_id: str | None = WABA) -> Known:
    return Known("account_update", event, waba_id)


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
    "message_from_a_person_without_a_number": [messages("text", "BR.4410029938475610")],
    "messages_value_with_errors_only": [Known("messages", None, WABA, NUMBER)],
    "two_wabas_in_one_webhook": [messages("read", ANA), messages("sent", RUI, OTHER_WABA)],
    "partner_added_names_the_waba_in_waba_info": [account("PARTNER_ADDED")],
    "app_installed_with_its_field_on_the_entry": [account("PARTNER_APP_INSTALLED")],
    "app_uninstalled_with_its_field_inside_the_value": [account("PARTNER_APP_UNINSTALLED")],
    "partner_removed_with_its_time_quoted": [account("PARTNER_REMOVED")],
    "coexistence_disconnect_without_waba_info": [account("PARTNER_REMOVED")],
    "coexistence_disconnect_with_waba_info": [account("PARTNER_REMOVED")],
    "waba_info_that_names_no_waba": [account("PARTNER_APP_UNINSTALLED", None)],
    "ban_announced": [account("DISABLED_UPDATE")],
    "review_decided": [Known("account_review_update", "APPROVED", WABA)],
    "history_stays_one_change": [Known("history", None, WABA, NUMBER)],
    "field_we_do_not_know": [Known("balloon_update", None, WABA)],
    "object_we_do_not_know": [Known()],
    "no_envelope_at_all": [Known()],
    "entry_list_that_is_empty": [],
    "entry_whose_changes_are_empty": [],
}


@pytest.mark.parametrize("name", PAYLOADS)
def test_each_payload_gives_the_changes_it_is_named_for(name: str) -> None:
    changes = split(orjson.dumps(payload(name)))

    assert [known(change) for change in changes] == PAYLOADS[name]


def test_every_payload_file_is_in_the_table() -> None:
    assert names() == set(PAYLOADS)


@pytest.mark.parametrize(
    "body",
    [b"null", b"true", b"7", b'"text"', b"[]", b"{}", b'{"entry":{}}', b'{"entry":null}'],
)
def test_json_without_an_entry_list_is_one_change_of_which_nothing_is_known(body: bytes) -> None:
    [change] = split(body)

    assert known(change) == Known()
    assert orjson.loads(change.content)["value"] == orjson.loads(body)


@pytest.mark.parametrize("entry", [None, 7, "text", [], {}, {"changes": {}}])
def test_an_entry_of_an_unknown_shape_is_one_change(entry: Any) -> None:
    [odd, sound] = split(
        orjson.dumps({"entry": [entry, *payload("ban_announced")["entry"]]}),
    )

    assert known(odd) == Known()
    assert known(sound) == account("DISABLED_UPDATE")


@pytest.mark.parametrize("change", [None, 7, "text", [], {}, {"value": None}])
def test_a_change_of_an_unknown_shape_is_kept_whole(change: Any) -> None:
    [found] = split(orjson.dumps({"entry": [{"id": WABA, "changes": [change]}]}))

    assert known(found) == Known(waba_id=WABA)
    assert orjson.loads(found.content)["value"] == change


@pytest.mark.parametrize(
    ("given", "kept"),
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
def test_an_id_is_one_to_twenty_ascii_digits_or_it_is_none(given: object, kept: str | None) -> None:
    assert as_id(given) == kept
