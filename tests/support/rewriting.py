"""Write a JSON value in other bytes: another order of keys, other spaces, other escapes."""

import json
from random import Random
from typing import Any


def rewritten(value: Any, random: Random) -> bytes:
    """Return JSON that parses to `value`, written in a random way."""
    space = random.choice(["", " ", "\n\t"])
    text = json.dumps(
        _shuffled(value, random),
        ensure_ascii=random.choice([True, False]),
        separators=(f"{space},{space}", f"{space}:{space}"),
    )
    if random.choice([True, False]) and _has_a_only_in_strings(text):
        text = text.replace("/", "\\/").replace("a", "\\u0061")
    return f"{space}{text}{space}".encode()


def _has_a_only_in_strings(text: str) -> bool:
    """Return whether each `a` can be escaped: none is part of an escape or of `false`."""
    return "\\" not in text and "false" not in text


def _shuffled(value: Any, random: Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: _shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return [_shuffled(item, random) for item in value]
    return value
