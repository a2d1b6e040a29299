"""The events that the code sends match docs/events.asyncapi.yaml."""

from datetime import UTC, datetime
from typing import Any, get_args
from uuid import uuid4

import orjson
import pytest

from deploy.local.oracle.contract import FILE, contract, is_in_contract, validator
from shared.domain.attribution import Why
from shared.domain.facts import NumberProperty, State
from shared.domain.fields import DESCRIBED
from shared.domain.splitting import Change, split
from shared.domain.token_health import Complaint, HealthEvent
from shared.messages import Event, encode_event
from tests.support.field_contract import with_fields
from tests.support.payloads import bodies
from tests.support.sending import WABA
from tests.support.splits import with_value

CONTRACT = contract()
BODIES = bodies()
_NOW = datetime.now(UTC)


def sent_event(**changed: Any) -> Any:
    event: dict[str, Any] = {
        "id": uuid4(), "occurred_at": _NOW, "organization_id": "bakery", "waba_id": WABA,
        "revision": None, "webhook_id": None,
    }  # fmt: skip
    return orjson.loads(encode_event(Event(**(event | changed))))


def test_a_connections_event_matches_the_contract() -> None:
    data = {
        "state": "offboarded", "reason": None, "attribution": "tracking_code",
        "owner_business_id": "31",
    }  # fmt: skip
    event = sent_event(type="connection.offboarded", revision=3, data=orjson.dumps(data))
    validator("connection").validate(event)
    assert not validator("connection").is_valid(event | {"type": "connection.gone"})
    assert not validator("connection").is_valid(event | {"revision": None})


def test_a_tokens_event_and_a_numbers_match_the_contract() -> None:
    data = {
        "state": "active", "reason": None, "attribution": "tracking_code",
        "owner_business_id": "31",
    }  # fmt: skip
    for event_type in get_args(HealthEvent):
        for reason in (*get_args(Complaint), "token_expiring", None):
            token = {"state": "valid", "reason": reason, "remedy": None, "ends_at": None}
            told = orjson.dumps(data | {"token": token})
            event = sent_event(type=f"connection.{event_type}", revision=3, data=told)
            validator("token").validate(event)
    for name in get_args(NumberProperty):
        number = {"phone_number_id": "1", "digits": "1555", "before": None, "now": "banned"}
        told = orjson.dumps(data | {"number": number})
        event = sent_event(type=f"connection.{name}", revision=3, data=told)
        validator("number").validate(event)
        assert not validator("number").is_valid(event | {"data": data})
    for reason in ("not_verified", None):
        number = {"phone_number_id": "1", "digits": "1555", "before": None, "now": "blocked",
                  "reason": reason, "remedy": "Verify it."}  # fmt: skip
        told = orjson.dumps(data | {"number": number})
        event = sent_event(type="connection.number_state", revision=3, data=told)
        validator("number_state").validate(event)


def test_an_onboardings_event_matches_the_contract() -> None:
    data = orjson.dumps(
        {"onboarding_id": str(uuid4()), "tracking_code": "code-1", "reason": "waba_not_granted"}
    )
    event = sent_event(type="onboarding.refused", waba_id=None, data=data)
    validator("onboarding").validate(event)
    assert not validator("onboarding").is_valid(event | {"type": "onboarding.lost"})
    assert not validator("connection").is_valid(event)


def check_change(change: Change) -> None:
    """Validate the event of a change against the message of its field."""
    type_ = f"change.{change.field or 'unknown'}"
    event = sent_event(type=type_, webhook_id=uuid4(), data=change.content)
    name = type_ if change.field in DESCRIBED else "change"
    validator(name).validate(event)
    validator(name).validate(event | {"data": None})
    assert is_in_contract(event)
    assert not is_in_contract(event | {"data": {"value": 1}})
    assert not validator(name).is_valid(event | {"type": "change"})


@pytest.mark.parametrize("name", BODIES)
def test_the_event_of_each_change_of_a_payload_matches_the_contract(name: str) -> None:
    for change in split(BODIES[name]):
        check_change(change)


def test_the_contract_has_a_message_of_each_described_field() -> None:
    """To write it: `python -m tests.support.field_contract`."""
    assert FILE.read_text() == with_fields(FILE.read_text())
    messages = CONTRACT["channels"]["events"]["messages"]
    assert messages.keys() == CONTRACT["components"]["messages"].keys()
    assert {name for name in messages if "." in name} == {f"change.{name}" for name in DESCRIBED}


@pytest.mark.parametrize("field", DESCRIBED)
def test_a_field_is_told_as_it_is_described(field: str) -> None:
    value: dict[str, Any] = {name: [{"id": "1"}] for name in DESCRIBED[field].lists}
    changes = split(orjson.dumps(with_value(value, field)))
    assert len(changes) == max(1, len(value))
    for change in changes:
        check_change(change)
    for name in value:
        data = {"entry": {}, "field": field, "value": {name: [{}, {}]}}
        event = sent_event(type=f"change.{field}", webhook_id=uuid4(), data=orjson.dumps(data))
        assert not is_in_contract(event)


@pytest.mark.parametrize(
    ("name", "values"), [("state", get_args(State)), ("attribution", get_args(Why))]
)
def test_every_value_of_ours_is_in_the_contract(name: str, values: tuple[str, ...]) -> None:
    payload = CONTRACT["components"]["messages"]["connection"]["payload"]["allOf"][1]
    assert payload["properties"]["data"]["properties"][name]["enum"] == list(values)
    if name == "state":
        types = payload["properties"]["type"]["enum"]
        assert types == [*(f"connection.{state}" for state in values), "connection.lost"]
