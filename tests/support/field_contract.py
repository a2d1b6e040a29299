"""What is made of shared/domain/fields.py in docs/events.asyncapi.yaml: a message of each field.

`python -m tests.support.field_contract` writes it.
"""

import re
from textwrap import indent
from typing import Any, Final

import yaml

from deploy.local.oracle.contract import FILE
from shared.domain.fields import DESCRIBED, PAGES, REFERENCE, UNKNOWN, Field, Path

#: Where it is in the file: first the references to the messages, then the messages.
_MADE: Final = re.compile(r"(# made by [^\n]*\n).*?( *# to here\n)", re.DOTALL)
_TEXT: Final = {"type": "string"}
_TIME: Final = {"type": ["string", "integer"], "description": "Unix time in seconds."}


def with_fields(contract: str) -> str:
    """Return the text of the contract, with what is made of the fields."""
    types = {f"change.{name}": name for name in DESCRIBED}
    refs = {type_: {"$ref": f"#/components/messages/{type_}"} for type_ in types}
    messages = {type_: _message(type_, name) for type_, name in types.items()}
    parts = iter([_yaml(refs, 6), _yaml(messages, 4)])
    return _MADE.sub(lambda found: found[1] + next(parts) + found[2], contract)


class _Dumper(yaml.SafeDumper):
    def ignore_aliases(self, _: Any) -> bool:
        return True


def _yaml(value: Any, spaces: int) -> str:
    text = yaml.dump(value, Dumper=_Dumper, sort_keys=False, default_flow_style=None, width=120)
    return indent(text, " " * spaces)


def _message(type_: str, name: str) -> dict[str, Any]:
    field = DESCRIBED[name]
    page = field.page or REFERENCE + name
    data = {
        "type": ["object", "null"],
        "externalDocs": {"description": f"Meta's page, {field.date}", "url": PAGES + page},
        "required": ["entry", "field", "value"],
        "properties": {
            "entry": _schema("entry"),
            "field": {"const": name},
            "value": _value(field),
        },
    }
    properties = {"type": {"const": type_}, "data": data}
    return {
        "name": type_,
        "title": f"{'An item' if field.lists else 'A change'} of the field {name}",
        "contentType": "application/json",
        "payload": {"allOf": [_schema("change"), {"properties": properties}]},
    }


def _value(field: Field) -> dict[str, Any]:
    """Return the schema of what a piece of a field's value holds, as far as it is described."""
    event = dict.fromkeys(field.event, _TEXT) if field.event != UNKNOWN.event else {}
    if not field.lists:
        number = {field.number: _TEXT} if field.number != UNKNOWN.number else {}
        return _object(event | number)
    item = _object(event | {field.time: _TIME})
    lists: dict[Path, Any] = {
        (name,): {"type": "array", "maxItems": 1, "items": item} for name in field.lists
    }
    return _object({("metadata",): _schema("metadata"), ("contacts",): _schema("contacts")} | lists)


def _schema(name: str) -> dict[str, str]:
    return {"$ref": f"#/components/schemas/{name}"}


def _object(parts: dict[Path, Any]) -> dict[str, Any]:
    """Return the schema of an object that has each part at its path."""
    properties: dict[str, Any] = {}
    for (name, *inner), part in parts.items():
        properties[name] = _object({tuple(inner): part}) if inner else part
    return {"type": "object", "properties": properties}


if __name__ == "__main__":
    FILE.write_text(with_fields(FILE.read_text()))
