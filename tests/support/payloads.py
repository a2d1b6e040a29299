"""Webhooks as Meta sends them. Each file is named after the behaviour it is for."""

from pathlib import Path
from typing import Any

import orjson

FOLDER = Path(__file__).parents[1] / "payloads"
#: Webhooks that public projects and Meta's pages show, if this folder is beside the project or
#: further up: they are no part of it.
OTHERS = "shared/fixtures"


def payload(name: str) -> Any:
    """Return the JSON value of a payload, new on each call: a test may change it."""
    return orjson.loads((FOLDER / f"{name}.json").read_bytes())


def names() -> set[str]:
    return {file.stem for file in FOLDER.glob("*.json")}


def bodies() -> dict[str, bytes]:
    """Return each payload and, where they are, each webhook of others, by a name of its own."""
    folders = [FOLDER, *(folder / OTHERS for folder in FOLDER.parents[1:])]
    files = [file for folder in folders for file in sorted(folder.rglob("*.json"))]
    return {f"{file.parent.name}/{file.stem}": file.read_bytes() for file in files}
