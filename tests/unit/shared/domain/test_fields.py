"""Every described field: nothing is lost, and grouping and repetition change no key or event."""

from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.fields import DESCRIBED, at
from shared.domain.splitting import UNMATCHED_CONTACTS, Change, split
from tests.support.payloads import bodies
from tests.support.splits import contents, only_change, with_value

BODIES = bodies()
LISTED = sorted(name for name, field in DESCRIBED.items() if field.lists)
METADATA = {"display_phone_number": "15551230000", "phone_number_id": "5093"}
PEOPLE = ["5511955550111", "551155550111", "BR.44", "120363", "5215512345678"]

scalars = st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab\u00e3/", max_size=4)
json_values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("text id event type status wa_id".split()), inner)
    ),
    max_leaves=6,
)
items = st.fixed_dictionaries(
    {"id": st.integers(0, 5).map("wamid.{}".format)},
    optional={
        "from": st.sampled_from(PEOPLE),
        "recipient_user_id": st.sampled_from(PEOPLE),
        "timestamp": st.sampled_from(["1793", "1794"]),
        "type": st.just("text"),
        "body": json_values,
    },
)
contacts = st.lists(
    st.fixed_dictionaries({"profile": json_values}, optional={"wa_id": st.sampled_from(PEOPLE)}),
    max_size=3,
)


@st.composite
def values(draw: st.DrawFn, field: str) -> dict[str, Any]:
    """Return a value of the field: items of its lists, contacts, and something beside them."""
    value: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": METADATA}
    for name in DESCRIBED[field].lists:
        value[name] = draw(st.lists(items, max_size=3) | json_values)
    value["contacts"] = draw(contacts)
    return value | draw(st.fixed_dictionaries({}, optional={"errors": json_values}))


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every scalar, and of every empty list and object."""
    inner = (
        value.items() if isinstance(value, dict)
        else enumerate(value) if isinstance(value, list) else ()
    )  # fmt: skip
    found = [place for name, each in inner for place in places(each, (*path, name))]
    return found or [path]


def with_marker(value: Any, path: tuple[Any, ...]) -> Any:
    if not path:
        return "<marker>"
    copied = dict(value) if isinstance(value, dict) else list(value)
    copied[path[0]] = with_marker(value[path[0]], path[1:])
    return copied


def check_markers(body: Any) -> None:
    """Put a marker at every place of every value, and find it in what is stored."""
    for number, entry in enumerate(body["entry"]):
        for index, change in enumerate(entry.get("changes", ())):
            path = ("entry", number, "changes", index, "value")
            for place in places(change.get("value")):
                marked = with_marker(body, path + place)
                assert any(b"<marker>" in change.content for change in split(orjson.dumps(marked)))


@pytest.mark.parametrize("name", BODIES)
def test_a_marker_at_any_place_of_a_payload_is_in_a_change(name: str) -> None:
    body = orjson.loads(BODIES[name])
    if isinstance(body, dict) and isinstance(body.get("entry"), list):
        check_markers(body)


@pytest.mark.parametrize("field", [*sorted(DESCRIBED), "balloon_update"])
@given(data=st.data())
@settings(max_examples=25)
def test_a_marker_at_any_place_of_a_value_is_in_a_change(field: str, data: st.DataObject) -> None:
    value = data.draw(values(field) if field in DESCRIBED else json_values)
    check_markers(with_value(value, field))


def told(changes: list[Change]) -> set[tuple[bytes, str | None]]:
    return {(c.key, c.event) for c in changes if c.event != UNMATCHED_CONTACTS}


@pytest.mark.parametrize("field", LISTED)
@given(data=st.data(), random=st.randoms(use_true_random=False))
@settings(max_examples=40)
def test_any_grouping_and_repetition_of_items_is_told_as_the_same_changes(
    field: str, data: st.DataObject, random: Random
) -> None:
    lists = DESCRIBED[field].lists
    whole = {name: data.draw(st.lists(items, max_size=4)) for name in lists}
    each = [(name, item) for name in lists for item in whole[name]]
    sent = each + [random.choice(each) for _ in each]
    random.shuffle(sent)

    def webhook(group: list[tuple[str, Any]]) -> Any:
        value: dict[str, Any] = {"messaging_product": "whatsapp", "metadata": METADATA}
        for name, item in group:
            value.setdefault(name, []).append(item)
        value["contacts"] = data.draw(contacts)
        return {"id": "7314", "time": 1793, "changes": [{"field": field, "value": value}]}

    groups: list[list[tuple[str, Any]]] = []
    while sent:
        size = random.randint(1, len(sent))
        groups.append(sent[:size])
        sent = sent[size:]
    alone = {"entry": [webhook([pair]) for pair in each]}
    grouped = {"entry": [webhook(group) for group in groups]}

    assert told(split(orjson.dumps(grouped))) == told(split(orjson.dumps(alone)))


@pytest.mark.parametrize("field", LISTED)
def test_each_item_is_a_change_with_its_event_and_the_values_metadata(field: str) -> None:
    description = DESCRIBED[field]
    name = description.lists[0]
    made: list[dict[str, Any]] = []
    for number in range(2):
        item: Any = "happened"
        for key in reversed(description.event[0]):
            item = {key: item}
        made.append(item | {"id": f"{field}-{number}"})
    value = {"messaging_product": "whatsapp", "metadata": METADATA, name: made}

    first, second = split(orjson.dumps(with_value(value, field)))

    assert [first.event, second.event] == ["happened"] * 2
    assert {first.phone_number_id, second.phone_number_id} == {"5093"}
    assert at(("value", name), orjson.loads(second.content)) == [made[1]]


def test_a_repetition_of_what_an_earlier_version_stored_whole_is_known() -> None:
    echoes = [{"id": f"wamid.{n}", "to": "5511", "timestamp": "1"} for n in range(2)]
    value = {"metadata": METADATA, "message_echoes": echoes, "contacts": [{"wa_id": "5511"}]}
    changes = split(orjson.dumps(with_value(value, "smb_message_echoes")))
    # Computed by the code of 0.2.0.
    assert {(c.whole_key or b"").hex()[:12] for c in changes} == {"78b8491249f8"}
    assert only_change({"messages": [{"id": "1", "timestamp": "1"}]}).whole_key is None


@pytest.mark.parametrize(("settings_", "expected"), [("5093", "5093"), ("x", None), (None, None)])
def test_an_account_setting_names_its_number(settings_: Any, expected: str | None) -> None:
    value = {"phone_number_settings": {"phone_number_id": settings_}, "timestamp": "1"}
    assert only_change(value, "account_settings_update").phone_number_id == expected


def test_another_object_names_no_waba_and_is_kept_in_the_content() -> None:
    body = with_value({"event": "PARTNER_ADDED"}, "account_update") | {"object": "application"}
    [content] = contents(body)
    [change] = split(orjson.dumps(body))
    assert change.waba_id is None
    assert content["object"] == "application"
    [own] = split(orjson.dumps(body | {"object": "whatsapp_business_account"}))
    assert own.waba_id == "7314"
    assert b"whatsapp_business_account" not in own.content


@pytest.mark.parametrize("entry_id", ["0", 0, "000"])
def test_the_entry_of_the_dashboards_test_button_is_no_waba(entry_id: object) -> None:
    body = with_value({"event": "DISABLED_UPDATE"}, "account_update")
    body["entry"][0]["id"] = entry_id
    [change] = split(orjson.dumps(body))
    assert change.waba_id is None
