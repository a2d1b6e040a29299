"""Webhooks as Meta sends them, kept in files named by what they prove."""

from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parents[1] / "payloads"


def payload(name: str) -> Any:
    """The JSON value of a payload, new each time: a test may change it."""
    return orjson.loads((FOLDER / f"{name}.json").read_bytes())


def names() -> set[str]:
    return {file.stem for file in FOLDER.glob("*.json")}
