"""A change has the same key however its JSON is written. Another change has another key."""

from random import Random
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.splitting import Change, split
from tests.support.payloads import names, payload
from tests.support.rewriting import rewritten

NUMBER = {"phone_number_id": "5093"}
MESSAGE = {"id": "wamid.1", "from": "5511", "timestamp": "1793", "type": "text"}
UNDATED = {"id": "wamid.1", "from": "5511", "type": "text"}


def webhook(
    item: Any = MESSAGE, *, number: Any = NUMBER, under: str = "messages", field: str = "messages",
    **entry: Any,
) -> Any:  # fmt: skip
    value = {"metadata": number, under: [item]}
    return {"entry": [{"id": "7314"} | entry | {"changes": [{"field": field, "value": value}]}]}


def update(value: Any, **entry: Any) -> Any:
    change = {"field": "account_update", "value": value}
    return {"entry": [{"id": "7314", "time": 1793} | entry | {"changes": [change]}]}


def only(body: Any) -> Change:
    [change] = split(orjson.dumps(body))
    return change


def key(body: Any) -> bytes:
    return only(body).key


def test_a_repetition_is_known_by_a_key_of_an_earlier_version() -> None:
    """Computed by the code of 0.2.0."""
    assert only(webhook()).digest.hex().startswith("5dbc908fcc59")
    assert only(update({"event": "PARTNER_ADDED"})).digest.hex().startswith("fc17166aac5b")


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (webhook(), 1793),
        (webhook(MESSAGE | {"timestamp": 1793}), 1793),
        (webhook(time=1700), 1793),
        (webhook(UNDATED, time=1700), 1700),
        (update({"event": "A"}, time="1700"), 1700),
        (update({"event": "A"}, time=2**32 - 1), 2**32 - 1),
        (update([], time=1700), 1700),
    ],
)
def test_a_key_begins_with_the_second_that_the_change_is_from(body: Any, seconds: int) -> None:
    assert int.from_bytes(key(body)[:4]) == seconds


ABSURD: list[Any] = [
    None,
    True,
    -1,
    1.5,
    "",
    "-1",
    "1e3",
    "soon",
    "\u0661",
    "9" * 5000,
    [],
    {},
    2**32,
    2**60,
]


def test_an_absurd_time_leads_no_key_and_still_makes_another_change() -> None:
    undated = [key(webhook(UNDATED))]
    for time in ABSURD:
        undated += [key(webhook(UNDATED, time=time)), key(update({"event": "A"}, time=time))]
        undated += [key(webhook(MESSAGE | {"timestamp": time}))]
    assert {len(k) for k in undated} == {32}
    # An entry whose time is null is an entry without a time.
    assert len(set(undated)) == len(undated) - 1


@given(name=st.sampled_from(sorted(names())), random=st.randoms(use_true_random=False))
@settings(max_examples=200)
def test_order_spaces_and_escapes_change_no_key(name: str, random: Random) -> None:
    value = payload(name)
    plain = split(orjson.dumps(value))

    again = split(rewritten(value, random))

    assert [c.key for c in again] == [c.key for c in plain]
    assert [c.content for c in again] == [c.content for c in plain]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (webhook(), webhook(id="7315")),
        (webhook(), webhook(number={"phone_number_id": "5094"})),
        (webhook(), webhook(MESSAGE | {"id": "wamid.2"})),
        (webhook(), webhook(MESSAGE | {"timestamp": "1794"})),
        (webhook(), webhook(MESSAGE | {"text": {"body": "a"}})),
        (webhook(MESSAGE | {"text": "a"}), webhook(MESSAGE | {"text": "a "})),
        (webhook(MESSAGE | {"n": 1}), webhook(MESSAGE | {"n": "1"})),
        (webhook(MESSAGE | {"n": 1}), webhook(MESSAGE | {"n": True})),
        (webhook(MESSAGE | {"n": None}), webhook(MESSAGE)),
        (webhook(MESSAGE | {"n": [1, 2]}), webhook(MESSAGE | {"n": [2, 1]})),
        (webhook(MESSAGE | {"n": [1, 2]}), webhook(MESSAGE | {"n": [12]})),
        (webhook(UNDATED, time=1), webhook(UNDATED, time=2)),
        (webhook(UNDATED, time=1), webhook(UNDATED)),
        (webhook(), webhook(under="statuses")),
        (webhook(MESSAGE | {"timestamp": None}, time=1), webhook(MESSAGE | {"timestamp": None})),
        (update({"event": "A"}), update({"event": "B"})),
        (update({"event": "A"}), update({"event": "A"}, time=1794)),
        (update({"event": "A"}), update({"event": "A"}, id="7315")),
        (update({"event": "A"}), webhook({"event": "A"}, field="account_update")),
    ],
)
def test_any_difference_gives_another_key(first: Any, second: Any) -> None:
    assert key(first) != key(second)


def test_another_field_gives_another_key() -> None:
    first, second = update({"event": "A"}), update({"event": "A"})
    second["entry"][0]["changes"][0]["field"] = "security"

    assert key(first) != key(second)


def test_different_contacts_without_messages_give_different_keys() -> None:
    first, second = (
        {"entry": [{"id": "7314", "changes": [{"field": "messages", "value": value}]}]}
        for value in ({"contacts": [{"wa_id": "1"}]}, {"contacts": [{"wa_id": "2"}]})
    )

    assert key(first) != key(second)


def test_an_item_with_its_own_time_has_the_same_key_whenever_meta_sends_it() -> None:
    assert key(webhook(time=1)) == key(webhook(time=2)) == key(webhook())


def test_a_message_has_the_same_key_alone_and_in_a_batch() -> None:
    other = MESSAGE | {"id": "wamid.2"}
    batch = webhook()
    batch["entry"][0]["changes"][0]["value"]["messages"] = [other, MESSAGE]

    keys = [change.key for change in split(orjson.dumps(batch))]

    assert keys == [key(webhook(other)), key(webhook())]


def test_the_contact_does_not_change_a_messages_key() -> None:
    named = webhook()
    named["entry"][0]["changes"][0]["value"]["contacts"] = [{"wa_id": "5511", "profile": "Ana"}]

    assert key(named) == key(webhook())


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text("ab01", max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab", max_size=2), inner),
    max_leaves=6,
)


@given(first=json_values, second=json_values)
@settings(max_examples=300)
def test_two_updates_share_a_key_exactly_if_their_json_is_the_same(first: Any, second: Any) -> None:
    is_same = orjson.dumps(first, option=orjson.OPT_SORT_KEYS) == orjson.dumps(
        second, option=orjson.OPT_SORT_KEYS
    )

    assert (key(update([first])) == key(update([second]))) is is_same
