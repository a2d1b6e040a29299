"""Split webhooks in tests: wrap a value in Meta's envelope, and read what its changes contain."""

from typing import Any

import orjson

from shared.domain.splitting import Change, split


def contents(body: Any, *, is_test: bool = False) -> list[Any]:
    """Split `body`. Return the content of each change as JSON."""
    return [orjson.loads(c.content) for c in split(orjson.dumps(body), is_test=is_test)]


def with_value(value: Any, field: Any = "messages") -> Any:
    """Return a webhook with one change: `value` under `field`."""
    return {"entry": [{"id": "7314", "changes": [{"field": field, "value": value}]}]}


def only_change(value: Any, field: Any = "messages") -> Change:
    """Return the only change of a webhook with `value` under `field`."""
    [change] = split(orjson.dumps(with_value(value, field)))
    return change
