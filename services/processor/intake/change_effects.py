"""Apply the effects of changes: all under one savepoint or, if that fails, one savepoint each."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import orjson

from services.processor.intake.failures import Failure, FailureRecorder
from shared.actions.reported_changes import apply_effects, lock_connections
from shared.domain.account_changes import FIELDS, ChangeEffects, UnreadableChange, read_change
from shared.store.connections.connections import ConnectionRow
from shared.store.due import Lease
from shared.store.errors import is_infrastructure
from shared.store.intake import webhooks
from shared.store.intake.changes import NewChange, SplitChange
from shared.store.pool import Conn

ReadableChange = tuple[NewChange, ChangeEffects]


@dataclass(frozen=True, slots=True)
class GroupEffects:
    """What the changes of a group say of connections, by the changes' keys, or why that cannot be
    read; and those connections, locked."""

    by_key: Mapping[bytes, ChangeEffects | UnreadableChange]
    rows: Sequence[ConnectionRow]


async def lock_for_effects(
    conn: Conn, changes: Sequence[SplitChange], *, app_id: str
) -> GroupEffects:
    """Read the effects of changes that are about to be stored, and lock what they change."""
    by_key: dict[bytes, ChangeEffects | UnreadableChange] = {}
    for _, received_at, change in changes:
        if change.error is not None or change.field not in FIELDS:
            continue
        try:
            effects = read_change(orjson.loads(change.content), received_at, app_id=app_id)
        except UnreadableChange as error:
            by_key[change.key] = error
        else:
            if effects is not None:
                by_key[change.key] = effects
    readable = [effects for effects in by_key.values() if isinstance(effects, ChangeEffects)]
    return GroupEffects(by_key, await lock_connections(conn, readable) if readable else [])


async def apply_new_changes(
    conn: Conn, new: Sequence[NewChange], group: GroupEffects, recorder: FailureRecorder
) -> list[Failure]:
    """Apply the effects of those changes that were new, in the transaction that stored them. Return
    the failures.

    Only a change whose own effects cannot be applied, or that cannot be stored exactly, becomes
    failed or dead. Raise infrastructure errors.
    """
    readable: list[ReadableChange] = []
    errors: list[tuple[NewChange, Exception]] = []
    for row in new:
        effects = row.change.error or group.by_key.get(row.change.key)
        if isinstance(effects, ChangeEffects):
            readable.append((row, effects))
        elif effects is not None:
            errors.append((row, effects))
    if readable:
        errors += await _apply_together(conn, readable, group.rows)
    failures: list[Failure] = []
    for row, cause in errors:
        failures.append(await recorder.fail_change(conn, Lease(row.id, 1), cause))
        await webhooks.open_change(conn, row.webhook_id)
    return failures


async def _apply_together(
    conn: Conn, readable: Sequence[ReadableChange], rows: Sequence[ConnectionRow]
) -> list[tuple[NewChange, Exception]]:
    try:
        async with conn.transaction():
            await apply_effects(conn, [effects for _, effects in readable], rows)
    except Exception as error:
        if is_infrastructure(error):
            raise
        if len(readable) == 1:
            return [(readable[0][0], error)]
        failed = []
        for pair in sorted(readable, key=lambda pair: pair[1].waba_id):
            # The change before may have changed the connection.
            failed += await _apply_together(conn, [pair], await lock_connections(conn, [pair[1]]))
        return failed
    return []
