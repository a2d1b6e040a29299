"""The events' contract says what the code sends."""

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


def sent(**of: Any) -> Any:
    event: dict[str, Any] = {
        "id": uuid4(), "occurred_at": _NOW, "organization_id": "bakery", "waba_id": WABA,
        "revision": None, "webhook_id": None,
    }  # fmt: skip
    return orjson.loads(encode_event(Event(**(event | of))))


def test_a_connections_event_is_as_told() -> None:
    data = {
        "state": "offboarded", "reason": None, "attribution": "tracking_code",
        "owner_business_id": "31",
    }  # fmt: skip
    event = sent(type="connection.offboarded", revision=3, data=orjson.dumps(data))
    validator("connection").validate(event)
    assert not validator("connection").is_valid(event | {"type": "connection.gone"})
    assert not validator("connection").is_valid(event | {"revision": None})


def test_an_onboardings_event_is_as_told() -> None:
    data = orjson.dumps({"tracking_code": "code-1", "reason": "waba_not_granted"})
    event = sent(type="onboarding.refused", waba_id=None, data=data)
    validator("onboarding").validate(event)
    assert not validator("onboarding").is_valid(event | {"type": "onboarding.lost"})
    assert not validator("connection").is_valid(event)


def test_a_changes_event_is_as_told() -> None:
    [change] = split(json.dumps(message(1)).encode())
    event = sent(type="change.messages", webhook_id=uuid4(), data=change.content)
    validator("change").validate(event)
    assert not validator("change").is_valid(event | {"data": {"value": 1}})


@pytest.mark.parametrize(
    ("name", "words"), [("state", get_args(State)), ("attribution", get_args(Why))]
)
def test_every_word_of_ours_is_in_the_contract(name: str, words: tuple[str, ...]) -> None:
    payload = CONTRACT["components"]["messages"]["connection"]["payload"]["allOf"][1]
    assert payload["properties"]["data"]["properties"][name]["enum"] == list(words)
    if name == "state":
        types = payload["properties"]["type"]["enum"]
        assert types == [*(f"connection.{state}" for state in words), "connection.lost"]
