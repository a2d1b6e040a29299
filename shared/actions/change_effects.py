"""The effects of changes: together under one savepoint or, if that fails, one each."""

from collections.abc import Sequence

import orjson

from shared.actions.connection_state import apply_effects
from shared.actions.failures import Failure, FailureRecorder
from shared.domain.account_changes import FIELDS, ChangeEffects, UnreadableChange, read_change
from shared.store.due import Lease
from shared.store.errors import is_infrastructure
from shared.store.intake import webhooks
from shared.store.intake.changes import NewChange
from shared.store.pool import Conn

ReadableChange = tuple[NewChange, ChangeEffects]


async def apply_new_changes(
    conn: Conn, new: Sequence[NewChange], recorder: FailureRecorder
) -> list[Failure]:
    """Make the effects of changes just stored, in their transaction; what failed.

    A change whose effects cannot be made is left failed or dead, alone; the servers' errors are
    raised.
    """
    told: list[ReadableChange] = []
    errors: list[tuple[NewChange, Exception]] = []
    for one in new:
        if one.change.field not in FIELDS:
            continue
        try:
            if effects := read_change(orjson.loads(one.change.content), one.received_at):
                told.append((one, effects))
        except UnreadableChange as error:
            errors.append((one, error))
    if told:
        errors += await _apply_together(conn, told)
    failed: list[Failure] = []
    for one, why in errors:
        failed.append(await recorder.fail_change(conn, Lease(one.id, 1), why))
        await webhooks.open_change(conn, one.webhook_id)
    return failed


async def _apply_together(
    conn: Conn, told: Sequence[ReadableChange]
) -> list[tuple[NewChange, Exception]]:
    try:
        async with conn.transaction():
            await apply_effects(conn, [effects for _, effects in told])
    except Exception as error:
        if is_infrastructure(error):
            raise
        if len(told) == 1:
            return [(told[0][0], error)]
        alone = sorted(told, key=lambda pair: pair[1].waba_id)  # the locks' order
        return [failed for one in alone for failed in await _apply_together(conn, [one])]
    return []
