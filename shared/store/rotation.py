"""List all sealed columns, and reseal their rows under the newest key."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from shared.crypto import KeyRing, Undecryptable, associated_data
from shared.store.connections.tokens import pin_binding, token_binding
from shared.store.intake import partitions
from shared.store.pool import Conn

#: The limits of a batch; its last row may exceed MAX_BATCH_BYTES.
MAX_BATCH = 500
MAX_BATCH_BYTES = 4_000_000


@dataclass(frozen=True, slots=True)
class SealedColumn:
    """A column of envelopes. `key` lists the table's primary key columns with their types.
    `binding` makes the associated data that binds an envelope to its row, from the row's key."""

    table: str
    column: str
    key: Sequence[tuple[str, str]]
    binding: Callable[..., bytes]

    @property
    def name(self) -> str:
        return f"{self.table}.{self.column}"


def _by_id(
    table: str, column: str, *more: tuple[str, str], bound_to: str | None = None
) -> SealedColumn:
    def binding(id_: Any, *_: Any) -> bytes:
        return associated_data(bound_to or table, id_.bytes, column)

    return SealedColumn(table, column, (("id", "uuid"), *more), binding)


SealedData = Literal["tokens", "bodies"]
COLUMNS: dict[SealedData, Sequence[SealedColumn]] = {
    "tokens": (
        _by_id("whatsapp_onboarding", "token"),
        _by_id("whatsapp_onboarding", "sealed_tracking_code"),
        _by_id("whatsapp_onboarding", "sealed_waba_choices"),
        SealedColumn("whatsapp_connections", "token", (("waba_id", "text"),), token_binding),
        SealedColumn(
            "phone_numbers", "pin", (("waba_id", "text"), ("digits", "text")), pin_binding
        ),
    ),
    "bodies": (
        _by_id("webhook_changes", "content"),
        _by_id("dead_letters", "body"),
        _by_id("webhook_bodies", "body", ("received_at", "timestamptz")),
        _by_id("unsettled_bodies", "body", bound_to="webhook_bodies"),
    ),
}


@dataclass(frozen=True, slots=True)
class RotationBatch:
    """The result of one batch. `reached` is the key of its last row; None if there were no rows.
    `resealed` counts the rows that were resealed, `not_resealed` the other rows by key id."""

    reached: Sequence[Any] | None
    resealed: int
    not_resealed: Mapping[str, int]


async def reseal(
    conn: Conn,
    ring: KeyRing,
    sealed: SealedColumn,
    *,
    after: Sequence[Any] | None,
    dry_run: bool = False,
) -> RotationBatch:
    """Read the next rows after `after`, and reseal those that are not under the newest key.

    Each envelope is compared and swapped. If another process has written a row meanwhile, its value
    stays: it is under the newest key too. An envelope that no key of the ring opens stays as it is.
    """
    names = [name for name, _ in sealed.key]
    columns = ", ".join(names)
    if sealed.table == "webhook_bodies":
        await partitions.keep_rows_in_place(conn)
    after_key = f"AND ({columns}) > ({_placeholders(sealed)})" if after is not None else ""
    records = await conn.fetch(
        f"""
        SELECT * FROM (
            SELECT {columns}, {sealed.column} AS envelope, sum(octet_length({sealed.column})) OVER (
                ORDER BY {columns} ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
            ) AS bytes_before
            FROM {sealed.table} WHERE {sealed.column} IS NOT NULL {after_key}
            ORDER BY {columns} LIMIT {MAX_BATCH}
        ) AS next WHERE coalesce(bytes_before, 0) < {MAX_BATCH_BYTES} ORDER BY {columns}
        """,
        *(after or ()),
    )
    not_resealed: Counter[str] = Counter()
    swaps = []
    for record in records:
        key = [record[name] for name in names]
        resealed = (
            None if dry_run else _reseal_envelope(ring, record["envelope"], sealed.binding(*key))
        )
        if resealed is None:
            not_resealed[record["envelope"][1:5].hex()] += 1
        else:
            swaps.append((*key, record["envelope"], resealed))
    if swaps:
        await _swap(conn, sealed, swaps)
    reached = [records[-1][name] for name in names] if records else None
    return RotationBatch(reached, len(swaps), not_resealed)


def _reseal_envelope(ring: KeyRing, envelope: bytes, binding: bytes) -> bytes | None:
    """Return None if it is under the newest key already, or if no key of the ring opens it."""
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
    matched = " AND ".join(f"stored.{name} = swap.{name}" for name in names)
    await conn.execute(
        f"""
        UPDATE {sealed.table} AS stored SET {sealed.column} = swap.fresh
        FROM unnest({arrays}) AS swap ({", ".join(names)}, envelope, fresh)
        WHERE {matched} AND stored.{sealed.column} = swap.envelope
        """,
        *(list(column) for column in zip(*swaps, strict=True)),
    )


def _placeholders(sealed: SealedColumn) -> str:
    return ", ".join(f"${n}::{kind}" for n, (_, kind) in enumerate(sealed.key, start=1))
