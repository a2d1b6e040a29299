"""What a backup says of itself, in a readable file beside it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from services.scheduler.backups.stores import Store

VERSION = 1
_DATA, _MANIFEST = ".dump.age", ".json"


class BrokenManifest(Exception):
    """The file is no manifest that this version can read."""


@dataclass(frozen=True, slots=True)
class Manifest:
    """`name` is the backup's time, UTC. `schema` is its revision. `counts` are rows by table, and
    `key_ids` the rows of each sealed column by the id of the key that opens them. `sha256` and
    `size` are of the encrypted file."""

    name: str
    schema: str
    server: str
    counts: Mapping[str, int]
    key_ids: Mapping[str, Mapping[str, int]]
    sha256: str
    size: int
    version: int = VERSION

    @property
    def data(self) -> str:
        return data_name(self.name)


def data_name(name: str) -> str:
    """Return the name of a backup's encrypted file."""
    return name + _DATA


def write(store: Store, manifest: Manifest) -> None:
    """Write the manifest. From then on the backup is complete."""
    with store.create(manifest.name + _MANIFEST) as writer:
        writer.write(json.dumps(asdict(manifest), indent=2).encode() + b"\n")


def read(store: Store, name: str) -> Manifest:
    """Raise BrokenManifest."""
    with store.read(name + _MANIFEST) as file:
        try:
            manifest = Manifest(**json.loads(file.read()))
        except (ValueError, TypeError):
            raise BrokenManifest(f"{name}{_MANIFEST} is no manifest of a backup") from None
    if manifest.version != VERSION:
        raise BrokenManifest(f"{name}{_MANIFEST} was written by newer code")
    return manifest


def names(store: Store) -> Sequence[str]:
    """Return the names of the complete backups, the oldest first."""
    return sorted(
        name.removesuffix(_MANIFEST) for name in store.names() if name.endswith(_MANIFEST)
    )


def delete(store: Store, name: str) -> None:
    """Delete a backup. Its manifest goes first: what is left of it is then no backup."""
    store.delete(name + _MANIFEST)
    store.delete(name + _DATA)


def incomplete(store: Store) -> Sequence[str]:
    """Return the names of encrypted files without a manifest."""
    files = set(store.names())
    return sorted(
        name.removesuffix(_DATA)
        for name in files
        if name.endswith(_DATA) and name.removesuffix(_DATA) + _MANIFEST not in files
    )
