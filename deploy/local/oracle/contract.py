"""Validate events against docs/events.asyncapi.yaml, their contract."""

from functools import cache
from pathlib import Path
from typing import Any, Final

import yaml
from jsonschema import Draft7Validator
from referencing import Registry
from referencing.jsonschema import DRAFT7

FILE: Final = Path(__file__).parents[3] / "docs/events.asyncapi.yaml"


@cache
def contract() -> Any:
    return yaml.safe_load(FILE.read_text())


@cache
def validator(message: str) -> Draft7Validator:
    """Return what validates a message; AsyncAPI's schemas are a superset of draft 7."""
    registry: Registry[Any] = Registry().with_resource(
        "urn:contract", DRAFT7.create_resource(contract())
    )
    schema = {"$ref": f"urn:contract#/components/messages/{message}/payload"}
    return Draft7Validator(schema, registry=registry)


def is_in_contract(event: Any) -> bool:
    """Return whether the event is as its message says: that of its type or, if none has its name,
    any other one."""
    messages = contract()["components"]["messages"]
    by_type = [event["type"]] if event["type"] in messages else messages
    return any(validator(message).is_valid(event) for message in by_type)
