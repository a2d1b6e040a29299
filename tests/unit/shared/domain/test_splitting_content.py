"""A change contains enough of its webhook to be handled alone, and no more."""

import pytest

from shared.domain.exact_json import Unparsable
from shared.domain.splitting import MAX_CHANGES, split
from tests.support.payloads import payload
from tests.support.splits import contents, with_value

ANA, RUI = "5511955550111", "5511955550122"


def test_each_message_has_only_its_own_contact_and_number() -> None:
    body = payload("several_messages_from_two_people")

    [first, second, third] = contents(body)

    value = body["entry"][0]["changes"][0]["value"]
    assert [c["wa_id"] for c in first["value"]["contacts"]] == [ANA]
    assert [c["wa_id"] for c in second["value"]["contacts"]] == [RUI]
    assert [c["wa_id"] for c in third["value"]["contacts"]] == [ANA]
    assert [c["value"]["messages"] for c in (first, second, third)] == [
        [message] for message in value["messages"]
    ]
    assert first["value"]["metadata"] == value["metadata"]


def test_a_status_without_a_matching_contact_has_no_contact() -> None:
    failed = contents(payload("messages_and_statuses_together"))[2]

    assert failed["value"]["statuses"][0]["recipient_id"] == RUI
    assert "contacts" not in failed["value"]
    assert "messages" not in failed["value"]


def test_values_beside_messages_are_a_change_of_their_own() -> None:
    body = payload("several_messages_from_two_people")
    errors = [{"code": 131000}]
    body["entry"][0]["changes"][0]["value"]["errors"] = errors

    *_, last = contents(body)

    assert last["value"]["errors"] == errors
    assert "messages" not in last["value"]


def test_contacts_without_messages_are_kept() -> None:
    contacts = [{"wa_id": ANA, "user_id": "BR.1"}]

    [content] = contents(with_value({"metadata": {"phone_number_id": "1"}, "contacts": contacts}))

    assert content["value"]["contacts"] == contacts


def test_a_change_contains_its_entry_and_field() -> None:
    [content] = contents(payload("ban_announced"))

    assert content["entry"] == {"id": "731400000000011", "time": 1793010700}
    assert content["field"] == "account_update"
    assert content["value"]["ban_info"]["waba_ban_state"] == "SCHEDULE_FOR_DISABLE"


def test_a_time_in_quotes_is_kept_as_it_came() -> None:
    [content] = contents(payload("partner_removed_with_its_time_quoted"))

    assert content["entry"]["time"] == "1793010300"


def test_a_webhook_of_too_many_changes_is_refused_whole() -> None:
    entries = ",".join(['{"id":"1"}'] * (MAX_CHANGES + 1))
    with pytest.raises(Unparsable, match="more than 5,000 changes"):
        split(f'{{"entry":[{entries}]}}'.encode())
    fewer = ",".join(['{"id":"1"}'] * MAX_CHANGES)
    assert len(split(f'{{"entry":[{fewer}]}}'.encode())) == MAX_CHANGES


@pytest.mark.parametrize(
    "number", ["1e999", "1E+0999", "-1.5e400", "9" * 400 + ".0", "1e0000000999"]
)
def test_a_number_that_is_too_large_is_refused_beside_others(number: str) -> None:
    body = f'{{"entry":[{{"id":"1","changes":[{{"value":[null,1e99,{number}]}}]}}]}}'
    with pytest.raises(Unparsable, match="a number too large to hold exactly"):
        split(body.encode())
