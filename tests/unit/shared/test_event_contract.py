"""The events that the code sends match docs/events.asyncapi.yaml."""

import json
from datetime import UTC, datetime
from typing import Any, get_args
from uuid import uuid4

import orjson
import pytest
import yaml
from jsonschema import Draft202012Validator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

from shared.domain.attribution import Why
from shared.domain.facts import State
from shared.domain.splitting import split
from shared.messages import Event, encode_event
from tests.support.sending import WABA, message
from tests.support.source import ROOT

CONTRACT = yaml.safe_load((ROOT / "docs/events.asyncapi.yaml").read_text())
_NOW = datetime.now(UTC)


def validator(name: str) -> Draft202012Validator:
    resource = DRAFT202012.create_resource(CONTRACT)
    registry: Registry[Any] = Registry().with_resource("urn:contract", resource)
    schema = {"$ref": f"urn:contract#/components/messages/{name}/payload"}
    return Draft202012Validator(schema, registry=registry)


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


def test_an_onboardings_event_matches_the_contract() -> None:
    data = orjson.dumps({"tracking_code": "code-1", "reason": "waba_not_granted"})
    event = sent_event(type="onboarding.refused", waba_id=None, data=data)
    validator("onboarding").validate(event)
    assert not validator("onboarding").is_valid(event | {"type": "onboarding.lost"})
    assert not validator("connection").is_valid(event)


def test_a_changes_event_matches_the_contract() -> None:
    [change] = split(json.dumps(message(1)).encode())
    event = sent_event(type="change.messages", webhook_id=uuid4(), data=change.content)
    validator("change").validate(event)
    assert not validator("change").is_valid(event | {"data": {"value": 1}})


@pytest.mark.parametrize(
    ("name", "values"), [("state", get_args(State)), ("attribution", get_args(Why))]
)
def test_every_value_of_ours_is_in_the_contract(name: str, values: tuple[str, ...]) -> None:
    payload = CONTRACT["components"]["messages"]["connection"]["payload"]["allOf"][1]
    assert payload["properties"]["data"]["properties"][name]["enum"] == list(values)
    if name == "state":
        types = payload["properties"]["type"]["enum"]
        assert types == [*(f"connection.{state}" for state in values), "connection.lost"]
