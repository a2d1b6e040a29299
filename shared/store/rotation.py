"""Every sealed column there is, and bringing its rows under the newest key."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.crypto import KeyRing, Undecryptable, associated_data
from shared.store.connections.tokens import pin_binding, token_binding
from shared.store.pool import Conn

#: A batch's bounds; its last row may go past the second.
MAX_BATCH = 500
MAX_BATCH_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of envelopes. `key` are its table's primary key columns with their types; `binding`
    makes what binds an envelope to its row."""

    table: str
    column: str
    key: Sequence[tuple[str, str]]
    binding: Callable[..., bytes]

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


def _by_id(table: str, column: str, *more: tuple[str, str]) -> SealedColumn:
    def binding(id_: Any, *_: Any) -> bytes:
        return associated_data(table, id_.bytes, column)

    return SealedColumn(table, column, (("id", "uuid"), *more), binding)


SealedData = Literal["tokens", "bodies"]
COLUMNS: dict[SealedData, Sequence[SealedColumn]] = {
    "tokens": (
        _by_id("whatsapp_onboarding", "token"),
        SealedColumn("whatsapp_connections", "token", (("waba_id", "text"),), token_binding),
        SealedColumn(
            "phone_numbers", "pin", (("waba_id", "text"), ("digits", "text")), pin_binding
        ),
    ),
    "bodies": (
        _by_id("webhook_changes", "content"),
        _by_id("dead_letters", "body"),
        _by_id("webhook_bodies", "body", ("received_at", "timestamptz")),
    ),
}


@dataclass(frozen=True, slots=True)
class RotationBatch:
    """What one batch came to: `reached` is its last row's key (None: there was none), `resealed`
    how many were brought under the newest key, `rest` how many are under which key besides."""

    reached: Sequence[Any] | None
    resealed: int
    rest: Mapping[str, int]


async def reseal(
    conn: Conn,
    ring: KeyRing,
    sealed: SealedColumn,
    *,
    after: Sequence[Any] | None,
    dry_run: bool = False,
) -> RotationBatch:
    """Look at the next rows behind `after`, and bring them under the newest key.

    Each is compared and swapped: one that somebody writes meanwhile is left as they wrote it, which
    is under the newest key too. What no key opens is left as it is.
    """
    names = [name for name, _ in sealed.key]
    listed = ", ".join(names)
    behind = f"AND ({listed}) > ({_places(sealed)})" if after is not None else ""
    records = await conn.fetch(
        f"""
        SELECT * FROM (
            SELECT {listed}, {sealed.column} AS envelope, sum(octet_length({sealed.column})) OVER (
                ORDER BY {listed} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS bytes_before
            FROM {sealed.table} WHERE {sealed.column} IS NOT NULL {behind}
            ORDER BY {listed} LIMIT {MAX_BATCH}
        ) AS next WHERE coalesce(bytes_before, 0) < {MAX_BATCH_BYTES} ORDER BY {listed}
        """,  # noqa: S608 - our own words
        *(after or ()),
    )
    rest: Counter[str] = Counter()
    swaps = []
    for record in records:
        key = [record[name] for name in names]
        fresh = None if dry_run else _resealed(ring, record["envelope"], sealed.binding(*key))
        if fresh is None:
            rest[record["envelope"][1:5].hex()] += 1
        else:
            swaps.append((*key, record["envelope"], fresh))
    if swaps:
        await _swap(conn, sealed, swaps)
    reached = [records[-1][name] for name in names] if records else None
    return RotationBatch(reached, len(swaps), rest)


def _resealed(ring: KeyRing, envelope: bytes, binding: bytes) -> bytes | None:
    """None where it is under the newest key, or under none of the ring."""
    if envelope[1:5] == ring.write_id:
        return None
    try:
        return ring.seal(ring.open(envelope, binding), binding)
    except Undecryptable:
        return None


async def _swap(conn: Conn, sealed: SealedColumn, swaps: Sequence[tuple[Any, ...]]) -> None:
    types = [*(kind for _, kind in sealed.key), "bytea", "bytea"]
    arrays = ", ".join(f"${n}::{kind}[]" for n, kind in enumerate(types, start=1))
    names = [name for name, _ in sealed.key]
    matched = " AND ".join(f"held.{name} = swap.{name}" for name in names)
    await conn.execute(
        f"""
        UPDATE {sealed.table} AS held SET {sealed.column} = swap.fresh
        FROM unnest({arrays}) AS swap ({", ".join(names)}, envelope, fresh)
        WHERE {matched} AND held.{sealed.column} = swap.envelope
        """,  # noqa: S608 - our own words
        *(list(column) for column in zip(*swaps, strict=True)),
    )


def _places(sealed: SealedColumn) -> str:
    return ", ".join(f"${n}::{kind}" for n, (_, kind) in enumerate(sealed.key, start=1))
