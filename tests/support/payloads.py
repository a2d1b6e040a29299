"""Webhooks as Meta sends them. Each file is named after the behaviour it is for."""

from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parents[1] / "payloads"


def payload(name: str) -> Any:
    """Return the JSON value of a payload, new on each call: a test may change it."""
    return orjson.loads((FOLDER / f"{name}.json").read_bytes())


def names() -> set[str]:
    return {file.stem for file in FOLDER.glob("*.json")}
