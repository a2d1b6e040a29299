"""Apply the effects of changes: all under one savepoint or, if that fails, one savepoint each."""

from collections.abc import Sequence

import orjson

from services.processor.intake.failures import Failure, FailureRecorder
from shared.actions.reported_changes import apply_effects
from shared.domain.account_changes import ChangeEffects, UnreadableChange, read_change
from shared.store.due import Lease
from shared.store.errors import is_infrastructure
from shared.store.intake import webhooks
from shared.store.intake.changes import NewChange
from shared.store.pool import Conn

ReadableChange = tuple[NewChange, ChangeEffects]


async def apply_new_changes(
    conn: Conn, new: Sequence[NewChange], recorder: FailureRecorder, *, app_id: str
) -> list[Failure]:
    """Apply the effects of changes, in the transaction that stored them. Return the failures.

    Only a change whose own effects cannot be applied becomes failed or dead. Raise infrastructure
    errors.
    """
    readable: list[ReadableChange] = []
    errors: list[tuple[NewChange, Exception]] = []
    for row in new:
        try:
            content = orjson.loads(row.change.content)
            if effects := read_change(content, row.received_at, app_id=app_id):
                readable.append((row, effects))
        except UnreadableChange as error:
            errors.append((row, error))
    if readable:
        errors += await _apply_together(conn, readable)
    failures: list[Failure] = []
    for row, cause in errors:
        failures.append(await recorder.fail_change(conn, Lease(row.id, 1), cause))
        await webhooks.open_change(conn, row.webhook_id)
    return failures


async def _apply_together(
    conn: Conn, readable: Sequence[ReadableChange]
) -> list[tuple[NewChange, Exception]]:
    try:
        async with conn.transaction():
            await apply_effects(conn, [effects for _, effects in readable])
    except Exception as error:
        if is_infrastructure(error):
            raise
        if len(readable) == 1:
            return [(readable[0][0], error)]
        in_lock_order = sorted(readable, key=lambda pair: pair[1].waba_id)
        return [failed for pair in in_lock_order for failed in await _apply_together(conn, [pair])]
    return []
