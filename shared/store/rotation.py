"""Every sealed column there is, and its rows under another key than the newest."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.crypto import KeyRing, Undecryptable, associated_data
from shared.store.pool import Connection
from shared.store.tokens import pin_place, token_place

MAX_STEP = 500


@dataclass(frozen=True, slots=True)
class Sealed:
    """A column of envelopes. `key` are its table's primary key columns with their types; `place`
    makes what binds an envelope to its row."""

    table: str
    column: str
    key: Sequence[tuple[str, str]]
    place: Callable[..., bytes]

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


def _by_id(table: str, column: str, *more: tuple[str, str]) -> Sealed:
    def place(id_: Any, *_: Any) -> bytes:
        return associated_data(table, id_.bytes, column)

    return Sealed(table, column, (("id", "uuid"), *more), place)


Vault = Literal["tokens", "bodies"]
COLUMNS: dict[Vault, Sequence[Sealed]] = {
    "tokens": (
        _by_id("whatsapp_onboarding", "token"),
        Sealed("whatsapp_connections", "token", (("waba_id", "text"),), token_place),
        Sealed("phone_numbers", "pin", (("waba_id", "text"), ("digits", "text")), pin_place),
    ),
    "bodies": (
        _by_id("webhook_changes", "content"),
        _by_id("dead_letters", "body"),
        _by_id("webhook_bodies", "body", ("received_at", "timestamptz")),
    ),
}


@dataclass(frozen=True, slots=True)
class Step:
    """What one batch came to; `reached` is its last row's key, None where none was left."""

    reached: Sequence[Any] | None
    resealed: int
    undecryptable: int


async def count(connection: Connection, sealed: Sealed) -> dict[str, int]:
    """Rows by the id of the key that opens them."""
    records = await connection.fetch(
        f"""
        SELECT encode(substring({sealed.column} FROM 2 FOR 4), 'hex') AS key_id, count(*)
        FROM {sealed.table} WHERE {sealed.column} IS NOT NULL GROUP BY 1 ORDER BY 1
        """  # noqa: S608 - our own words
    )
    return {record["key_id"]: record["count"] for record in records}


async def reseal(
    connection: Connection, ring: KeyRing, sealed: Sealed, *, after: Sequence[Any] | None
) -> Step:
    """Bring the next rows behind `after` under the newest key. Each is compared and swapped: one
    that somebody writes meanwhile is left as they wrote it, which is under the newest key too."""
    names = [name for name, _ in sealed.key]
    listed = ", ".join(names)
    behind = f"AND ({listed}) > ({_places(sealed, start=2)})" if after is not None else ""
    records = await connection.fetch(
        f"""
        SELECT {listed}, {sealed.column} AS envelope FROM {sealed.table}
        WHERE {sealed.column} IS NOT NULL
            AND substring({sealed.column} FROM 2 FOR 4) <> $1 {behind}
        ORDER BY {listed} LIMIT {MAX_STEP}
        """,  # noqa: S608 - our own words
        ring.write_id,
        *(after or ()),
    )
    swaps = []
    for record in records:
        key = [record[name] for name in names]
        place = sealed.place(*key)
        try:
            fresh = ring.seal(ring.open(record["envelope"], place), place)
        except Undecryptable:
            continue
        swaps.append((*key, record["envelope"], fresh))
    if swaps:
        types = [*(kind for _, kind in sealed.key), "bytea", "bytea"]
        arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types, start=1))
        matched = " AND ".join(f"held.{name} = swap.{name}" for name in names)
        await connection.execute(
            f"""
            UPDATE {sealed.table} AS held SET {sealed.column} = swap.fresh
            FROM unnest({arrays}) AS swap ({listed}, envelope, fresh)
            WHERE {matched} AND held.{sealed.column} = swap.envelope
            """,  # noqa: S608 - our own words
            *(list(column) for column in zip(*swaps, strict=True)),
        )
    reached = [records[-1][name] for name in names] if records else None
    return Step(reached, len(swaps), len(records) - len(swaps))


def _places(sealed: Sealed, *, start: int) -> str:
    return ", ".join(f"${n}::{kind}" for n, (_, kind) in enumerate(sealed.key, start=start))
