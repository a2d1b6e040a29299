"""Splitting for tests: a value in its envelope, and what its changes contain."""

from typing import Any

import orjson

from shared.domain.splitting import Change, split


def contents(body: Any, *, is_test: bool = False) -> list[Any]:
    return [orjson.loads(c.content) for c in split(orjson.dumps(body), is_test=is_test)]


def with_value(value: Any, field: Any = "messages") -> Any:
    return {"entry": [{"id": "7314", "changes": [{"field": field, "value": value}]}]}


def split_one(value: Any, field: Any = "messages") -> Change:
    [change] = split(orjson.dumps(with_value(value, field)))
    return change
