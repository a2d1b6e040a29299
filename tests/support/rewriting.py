"""The same JSON value in other bytes: another order of keys, other spaces, other escapes."""

import json
from random import Random
from typing import Any


def rewritten(value: Any, random: Random) -> bytes:
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
    """So no `a` is part of an escape or of `false`, and can itself be escaped."""
    return "\\" not in text and "false" not in text


def _shuffled(value: Any, random: Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        random.shuffle(keys)
        return {key: _shuffled(value[key], random) for key in keys}
    if isinstance(value, list):
        return [_shuffled(item, random) for item in value]
    return value
