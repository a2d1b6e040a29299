"""Read the effects of account webhooks, including the inexact ones that Meta sends."""

from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
import pytest

from shared.domain.account_changes import (
    ChangeEffects,
    NumberRef,
    UnreadableChange,
    read_change,
)
from shared.domain.facts import live_facts
from shared.domain.splitting import split
from tests.support.payloads import payload

APP = "388200000000005"  # of the payloads
RECEIVED = datetime(2027, 1, 1, tzinfo=UTC)
SENT = datetime.fromtimestamp(1_790_000_000, UTC)
WABA = "900000000000010"
INFO = {"waba_id": WABA, "owner_business_id": "900000000000020"}


def effects_of(body: Any) -> ChangeEffects:
    """Return the effects of a webhook's only change."""
    [change] = split(orjson.dumps(body))
    effects = read_change(orjson.loads(change.content), RECEIVED, app_id=APP)
    assert effects is not None
    return effects


def effects_of_payload(name: str) -> ChangeEffects:
    return effects_of(payload(name))


def webhook(field: str, value: Any, entry_id: Any = WABA, time: Any = 1_790_000_000) -> Any:
    entry = {"id": entry_id, "time": time, "changes": [{"field": field, "value": value}]}
    return {"object": "whatsapp_business_account", "entry": [entry]}


def facts(effects: ChangeEffects) -> dict[str, str]:
    return {fact.name: fact.value for fact in effects.facts}


LIVE = {fact.name: fact.value for fact in live_facts(datetime.now(UTC))}


@pytest.mark.parametrize(
    ("event", "rest", "expected"),
    [
        ("PARTNER_ADDED", {"waba_info": INFO}, LIVE),
        ("PARTNER_APP_INSTALLED", {"waba_info": INFO}, LIVE),
        ("PARTNER_REMOVED", {"waba_info": INFO}, {"shared": "unshared"}),
        (
            "PARTNER_REMOVED",
            {"phone_number": "15550001111", "disconnection_info": {"reason": "CHANGE_NUMBER"}},
            {"phone_link": "change_number"},
        ),
        ("PARTNER_REMOVED", {"phone_number": "1"}, {"phone_link": "account_disconnected"}),
        ("PARTNER_APP_UNINSTALLED", {}, {"app": "uninstalled"}),
        ("ACCOUNT_OFFBOARDED", {}, {"phone_link": "offboarded"}),
        ("ACCOUNT_RECONNECTED", {}, {"phone_link": "linked"}),
        ("ACCOUNT_DELETED", {}, {"deleted": "deleted"}),
        ("DISABLED_UPDATE", {"ban_info": {"waba_ban_state": "DISABLE"}}, {"ban": "disabled"}),
        ("DISABLED_UPDATE", {"ban_info": {"waba_ban_state": ["REINSTATE"]}}, {"ban": "none"}),
        ("DISABLED_UPDATE", {"ban_info": {"waba_ban_state": "A NEW ONE"}}, {}),
        (
            "ACCOUNT_RESTRICTION",
            {"restriction_info": [{"restriction_type": "RESTRICTED_ADD_PHONE_NUMBER_ACTION"}]},
            {"restriction": "restricted_add_phone_number_action"},
        ),
        (
            "ACCOUNT_VIOLATION",
            {"violation_info": {"violation_type": "ADULT"}},
            {"violation": "adult"},
        ),
        (
            "PARTNER_CLIENT_CERTIFICATION_STATUS_UPDATE",
            {"partner_client_certification_info": {"status": "APPROVED"}},
            {"certification": "approved"},
        ),
        ("PARTNER_CLIENT_CERTIFICATION_NEEDED", {}, {"certification": "needed"}),
        ("BUSINESS_PRIMARY_LOCATION_COUNTRY_UPDATE", {"country": "BR"}, {"country": "br"}),
        (
            "VOLUME_BASED_PRICING_TIER_UPDATE",
            {"volume_tier_info": {"tier": "25000001:50000000"}},
            {"pricing_tier": "25000001:50000000"},
        ),
        (
            "VOLUME_BASED_PRICING_TIER_UPDATE",
            {"volume_tier_info": {"tier": "50000001:MAX"}},
            {"pricing_tier": "50000001:max"},
        ),
        ("VOLUME_BASED_PRICING_TIER_UPDATE", {"volume_tier_info": {"tier": "1:2:3"}}, {}),
        (
            "ACCOUNT_RESTRICTION",
            {"restriction_info": [{"restriction_type": "B"}, 7, {"restriction_type": "A"}]},
            {"restriction": "a,b"},
        ),
        ("AUTH_INTL_PRICE_ELIGIBILITY_UPDATE", {}, {"international_pricing": "updated"}),
        ("AD_ACCOUNT_LINKED", {"waba_info": INFO}, {"ad_account": "linked"}),
        ("MM_LITE_TERMS_SIGNED", {"waba_info": INFO}, {"marketing_terms": "signed"}),
    ],
)
def test_every_event_gives_its_facts(
    event: str, rest: dict[str, Any], expected: dict[str, str]
) -> None:
    effects = effects_of(webhook("account_update", {"event": event, **rest}))
    values = facts(effects)
    owner = values.pop("owner_business", None)
    assert (values, owner) == (expected, INFO["owner_business_id"] if "waba_info" in rest else None)
    assert effects.waba_id == WABA
    assert {fact.at for fact in effects.facts} <= {SENT}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("app_installed_with_its_field_on_the_entry", LIVE),
        ("app_uninstalled_with_its_field_inside_the_value", {"app": "uninstalled"}),
        ("partner_removed_with_its_time_quoted", {"shared": "unshared"}),
    ],
)
def test_misplaced_and_quoted_values_are_read(name: str, expected: dict[str, str]) -> None:
    effects = effects_of_payload(name)
    values = facts(effects)
    values.pop("owner_business", None)
    assert values == expected
    assert {fact.at for fact in effects.facts} != {RECEIVED}


@pytest.mark.parametrize(
    "name",
    ["coexistence_disconnect_with_waba_info", "coexistence_disconnect_without_waba_info"],
)
def test_a_coexistence_disconnect_unshares_nothing(name: str) -> None:
    values = facts(effects_of_payload(name))
    assert "phone_link" in values
    assert "shared" not in values


@pytest.mark.parametrize(
    ("time", "at"),
    [
        (1_790_000_000, SENT),
        ("1790000000", SENT),
        (None, RECEIVED),
        (True, RECEIVED),
        ("soon", RECEIVED),
        (10**18, RECEIVED),
        (int((RECEIVED + timedelta(days=1)).timestamp()), RECEIVED),
    ],
)
def test_a_time_is_capped_at_receipt_and_a_missing_one_is_the_receipt(
    time: Any, at: datetime
) -> None:
    effects = effects_of(webhook("account_update", {"event": "ACCOUNT_DELETED"}, time=time))
    assert [fact.at for fact in effects.facts] == [at]


@pytest.mark.parametrize("info", [{"waba_id": "not an id"}, {"owner_business_id": "9"}])
def test_an_event_that_names_no_waba_is_unreadable(info: dict[str, str]) -> None:
    with pytest.raises(UnreadableChange, match="names no WABA"):
        effects_of(webhook("account_update", {"event": "PARTNER_ADDED", "waba_info": info}))


@pytest.mark.parametrize("place", ["waba_info", "value"])
def test_an_event_of_another_app_has_no_effect(place: str) -> None:
    def change(app: object) -> Any:
        value: dict[str, Any] = {"event": "PARTNER_APP_UNINSTALLED", "waba_info": dict(INFO)}
        (value["waba_info"] if place == "waba_info" else value)["partner_app_id"] = app
        [change] = split(orjson.dumps(webhook("account_update", value)))
        return orjson.loads(change.content)

    assert read_change(change(APP), RECEIVED, app_id=APP) is not None
    assert read_change(change("388200000000006"), RECEIVED, app_id=APP) is None
    assert read_change(change(388200000000006), RECEIVED, app_id=APP) is None


@pytest.mark.parametrize(("code", "expected"), [("code-1", "code-1"), (17, None), (None, None)])
def test_a_test_webhooks_tracking_code_is_read_if_it_is_text(code: Any, expected: Any) -> None:
    body = webhook("account_update", {"event": "PARTNER_ADDED", "waba_info": INFO})
    [change] = split(orjson.dumps(body))
    content = orjson.loads(change.content)
    content["entry"]["tracking_code"] = code

    effects = read_change(content, RECEIVED, app_id=APP)

    assert effects is not None
    assert effects.tracking_code == expected


def test_an_uninstall_that_names_no_waba_does_not_take_its_entry_for_one() -> None:
    assert not effects_of(webhook("account_update", {"event": "PARTNER_APP_UNINSTALLED"})).is_waba
    assert effects_of(webhook("account_update", {"event": "ACCOUNT_DELETED"})).is_waba
    named = {"event": "PARTNER_APP_UNINSTALLED", "waba_info": INFO}
    assert effects_of(webhook("account_update", named)).is_waba


@pytest.mark.parametrize(
    ("field", "value", "name", "expected"),
    [
        ("account_review_update", {"decision": "APPROVED"}, "review", "approved"),
        ("account_alerts", {"alert_info": {"alert_type": "OBA_APPROVED"}}, "alert", "oba_approved"),
        ("account_alerts", {"alert_type": "OBA_REJECTED"}, "alert", "oba_rejected"),
        (
            "business_capability_update",
            {"max_daily_conversations_per_business": "TIER_2K"},
            "capability",
            "tier_2k",
        ),
        (
            "business_capability_update",
            {"max_daily_conversations_per_business": 2000},
            "capability",
            "2000",
        ),
    ],
)
def test_other_fields_give_their_fact(field: str, value: Any, name: str, expected: str) -> None:
    effects = effects_of(webhook(field, value))
    assert facts(effects) == {name: expected}
    assert {fact.at for fact in effects.facts} == {SENT}
    assert (effects.waba_id, effects.is_waba) == (WABA, False)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"entity_type": "PHONE_NUMBER", "entity_id": "9001"}, ("oba_approved", "9001")),
        ({"entity_type": "PHONE_NUMBER", "entity_id": 9001}, ("oba_approved", "9001")),
        ({"entity_type": "PHONE_NUMBER", "entity_id": "x"}, ("oba_approved", "")),
        ({"entity_type": "WABA", "entity_id": "9001"}, ("oba_approved", "")),
        ({"alert_info": {"alert_status": "NONE"}}, ("none", "")),
        ({"alert_status": "NONE"}, ("none", "")),
    ],
)
def test_an_alert_is_of_its_entity_and_ends(
    value: dict[str, Any], expected: tuple[str, str]
) -> None:
    value = {"alert_type": "OBA_APPROVED"} | value
    effects = effects_of(webhook("account_alerts", value))
    [fact] = effects.facts
    assert (fact.name, (fact.value, fact.digits)) == ("alert", expected)
    assert effects.number is None


def test_numbers_without_visible_digits_are_told_apart_by_their_ids() -> None:
    for phone_number_id in ("9001", "9002"):
        metadata = {"display_phone_number": "XXXX", "phone_number_id": phone_number_id}
        chunk = {"metadata": metadata, "history": [{"metadata": {}}]}
        effects = effects_of(webhook("history", chunk))
        assert [fact.digits for fact in effects.facts] == [phone_number_id]
        assert effects.number is not None
        assert effects.number.digits == phone_number_id


def test_another_object_and_the_dashboards_test_button_have_no_effects() -> None:
    body = webhook("account_update", {"event": "ACCOUNT_DELETED"})
    other = body | {"object": "application"}
    test_button = {"entry": [body["entry"][0] | {"id": "0"}]}
    for each in (other, test_button):
        [change] = split(orjson.dumps(each))
        assert read_change(orjson.loads(change.content), SENT, app_id="1") is None


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("phone_number_name_update", {"decision": "REJECTED"}, ("name", "rejected")),
        ("phone_number_quality_update", {"event": "THROUGHPUT_UPGRADE"},
         ("quality", "throughput_upgrade")),
        ("security", {"event": "PIN_CHANGED"}, ("pin", "pin_changed")),
    ],
)  # fmt: skip
def test_a_number_is_identified_by_its_digits(
    field: str, value: dict[str, Any], expected: tuple[str, str]
) -> None:
    effects = effects_of(webhook(field, value | {"display_phone_number": "+1 555-000-1111"}))
    [fact] = effects.facts
    assert (fact.name, fact.value, fact.digits, fact.at) == (*expected, "15550001111", SENT)
    assert effects.number is not None
    assert (effects.number.digits, effects.number.phone_number_id) == ("15550001111", None)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ({"metadata": {"phase": 0}}, "received"),
        ({"errors": [{"code": 2593109}]}, "declined"),
        ({"errors": "none"}, "received"),
    ],
)
def test_history_gives_the_numbers_id_too(chunk: dict[str, Any], expected: str) -> None:
    metadata = {"display_phone_number": "15550001111", "phone_number_id": "900000000000060"}
    effects = effects_of(webhook("history", {"metadata": metadata, "history": [chunk]}))
    assert [(fact.name, fact.value) for fact in effects.facts] == [("history", expected)]
    assert effects.number is not None
    assert effects.number.phone_number_id == "900000000000060"


@pytest.mark.parametrize(
    "body",
    [
        webhook("messages", {"statuses": []}),
        webhook("tea_temperature_update", {"celsius": 80}),
        webhook("account_update", {"event": "AN_EVENT_OF_NEXT_YEAR"}),
        webhook("account_update", {"event": ["a", "list"]}),
        webhook("account_update", "no object"),
        webhook("security", {"event": "PIN_CHANGED"}, entry_id="none"),
    ],
)
def test_every_other_change_has_no_effect(body: Any) -> None:
    [change] = split(orjson.dumps(body))
    assert read_change(orjson.loads(change.content), RECEIVED, app_id=APP) is None


def test_text_from_outside_is_never_recorded_unchecked() -> None:
    value = {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "<b>x</b>"}}
    assert effects_of(webhook("account_update", value)).facts == ()
    number = {"display_phone_number": "15550001111", "decision": "<b>x</b>"}
    assert effects_of(webhook("phone_number_name_update", number)).facts == ()


def test_words_are_recorded_as_one_name() -> None:
    value = {"event": "ACCOUNT_VIOLATION", "violation_info": {"violation_type": "Adult CONTENT"}}
    assert facts(effects_of(webhook("account_update", value))) == {"violation": "adult_content"}


def test_a_change_of_the_app_s_contacts_names_its_number_and_says_nothing_of_it() -> None:
    metadata = {"display_phone_number": "15550001111", "phone_number_id": "900000000000060"}
    effects = effects_of(webhook("smb_app_state_sync", {"metadata": metadata}))
    assert effects.facts == ()
    assert effects.number == NumberRef("15550001111", "900000000000060")


@pytest.mark.parametrize("chunks", [{"0": {}}, "text", ["text"], [], None])
def test_a_history_of_another_shape_says_nothing(chunks: Any) -> None:
    value = {"display_phone_number": "15550001111", "history": chunks}
    assert effects_of(webhook("history", value)).facts == ()


@pytest.mark.parametrize("info", ["DISABLE", {"waba_ban_state": {"DISABLE": 1}}, None])
def test_a_ban_of_another_shape_says_nothing(info: Any) -> None:
    value = {"event": "DISABLED_UPDATE", "ban_info": info}
    assert effects_of(webhook("account_update", value)).facts == ()
