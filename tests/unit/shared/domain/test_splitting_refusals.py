"""Bytes that are not JSON, or that we cannot store exactly, raise Unparsable and nothing else."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.domain.exact_json import Unparsable
from shared.domain.splitting import Change, split

TOO_DEEP = "nested too deeply"
TOO_LARGE = "a number too large to hold exactly"
SURROGATE = "a lone surrogate"

BAD_BODIES = {
    "empty": (b"", "not valid JSON"),
    "spaces": (b"  \n", "not valid JSON"),
    "cut off": (b'{"entry":[', "not valid JSON"),
    "followed by more": (b"{} {}", "not valid JSON"),
    "byte order mark": (b"\xef\xbb\xbf{}", "not valid JSON"),
    "a raw NUL": (b'{"a":"\x00"}', "a raw control character"),
    "NaN": (b'{"a":NaN}', "not valid JSON"),
    "Infinity": (b'{"a":-Infinity}', "not valid JSON"),
    "a float past all floats": (b'{"a":1e400}', TOO_LARGE),
    "5,000 digits": (b'{"a":%b}' % (b"1" * 5000), TOO_LARGE),
    "past 64 bits": (b'{"a":18446744073709551616}', TOO_LARGE),
    "past 64 bits, below": (b'{"a":-9223372036854775809}', TOO_LARGE),
    "an id past 64 bits": (b'{"entry":[{"id":18446744073709551616,"changes":[1]}]}', TOO_LARGE),
    "100,000 brackets": (b"[" * 100_000, TOO_DEEP),
    "300 nested levels": (b"[" * 300 + b"]" * 300, TOO_DEEP),
    "300 nested objects": (b'{"a":' * 300 + b"1" + b"}" * 300, TOO_DEEP),
    "a lone surrogate": (b'{"a":"\\ud83d"}', SURROGATE),
    "a lone low surrogate": (b'{"a":"\\ude00 "}', SURROGATE),
    "a lone surrogate as a key": (b'{"\\ud83d":1}', SURROGATE),
    "not UTF-8": (b'{"a":"\xff"}', "not valid UTF-8"),
    "UTF-16": ('{"a":1}'.encode("utf-16"), "not valid JSON"),
}


@pytest.mark.parametrize("name", BAD_BODIES)
def test_a_bad_body_is_unparsable_with_a_reason(name: str) -> None:
    body, reason = BAD_BODIES[name]

    with pytest.raises(Unparsable) as raised:
        split(body)

    assert str(raised.value) == reason


def test_the_reason_quotes_nothing_of_the_body() -> None:
    with pytest.raises(Unparsable) as raised:
        split(b'{"a":"canary-7281", canary-7281}')

    assert "canary" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize("number", [2**64 - 1, -(2**63), 0])
def test_the_largest_64_bit_numbers_are_exact(number: int) -> None:
    [change] = split(b'{"n":%d}' % number)

    assert orjson.loads(change.content)["value"] == {"n": number}


def is_split(body: bytes) -> bool:
    """Return True if `split` returns valid changes, False if it raises Unparsable."""
    try:
        changes = split(body)
    except Unparsable:
        return False
    for change in changes:
        assert isinstance(change, Change)
        assert len(change.key) in (20, 32)
        assert {"entry", "field", "value"} <= orjson.loads(change.content).keys()
    return True


names = st.sampled_from(
    "object entry id time changes field value messages statuses contacts metadata waba_info"
    " phone_number_id wa_id user_id from timestamp type event trackingCode".split()
)
json_values: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=8)
    | st.sampled_from(["messages", "account_update", "1", ""]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(names | st.text(max_size=3).filter(str.isascii), inner, max_size=4)
    ),
    max_leaves=20,
)
enveloped = st.builds(
    lambda field, value, rest: {"entry": [rest | {"changes": [{"field": field, "value": value}]}]},
    json_values | st.just("messages"),
    json_values | st.dictionaries(names, json_values | st.lists(json_values, max_size=3)),
    st.dictionaries(names, json_values, max_size=3),
)


@given(value=json_values | enveloped)
@settings(max_examples=400)
def test_any_json_value_is_split(value: Any) -> None:
    assert is_split(orjson.dumps(value))


@given(body=st.binary(max_size=64) | st.text('{}[]":,\\ud0e1-.aN', max_size=40).map(str.encode))
@settings(max_examples=400)
def test_any_bytes_are_split_or_unparsable(body: bytes) -> None:
    assert is_split(body) in (True, False)


def test_a_contact_whose_id_is_a_number_goes_with_its_message_beside_half_a_character() -> None:
    messages = [{"from": "5511987650001", "id": "a"}, {"from": "5511987650002", "id": "\ud83d"}]
    value = {"messages": messages, "contacts": [{"wa_id": 5511987650001}]}
    change = {"field": "messages", "value": value}

    sound, faulty = split(json.dumps({"entry": [{"id": "7314", "changes": [change]}]}).encode())

    assert (sound.error, bool(faulty.error)) == (None, True)
    assert json.loads(sound.content)["value"]["contacts"] == value["contacts"]


@pytest.mark.parametrize("field", ["0.0", "-0.0", "0e5", "1.5", "0", "true", "null"])
def test_a_field_that_is_no_text_is_read_alike_beside_half_a_character(field: str) -> None:
    """What is false in one reading of a half broken webhook is false in the other."""
    messages = '{"messages": [{"id": "a"}, {"id": "b", "text": "\\ud83d"}]}'
    change = f'{{"field": {field}, "value": {messages}}}'
    entry = f'{{"id": "7314", "field": "messages", "changes": [{{"value": 1}}, {change}]}}'

    changes = split(f'{{"entry": [{entry}]}}'.encode())

    assert changes[0].error is None
    assert changes[-1].error is not None
