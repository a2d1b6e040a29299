"""The effects of changes: together under one savepoint or, if that fails, one each."""

from collections.abc import Sequence

import orjson
import structlog

from shared.actions.settling import take_in
from shared.domain.account import FIELDS, Telling, Untellable, tell
from shared.store import changes
from shared.store.changes import New
from shared.store.errors import describe, is_infrastructure
from shared.store.pool import Connection

log = structlog.get_logger()


async def make_effects(connection: Connection, new: Sequence[New]) -> None:
    """Make the effects of changes just stored, in their transaction.

    A change whose effects cannot be made is left `failed`, alone; the servers' errors are raised.
    """
    told: list[tuple[New, Telling]] = []
    for one in new:
        if one.change.field not in FIELDS:
            continue
        try:
            if telling := tell(orjson.loads(one.change.content), one.received_at):
                told.append((one, telling))
        except Untellable as error:
            await _fail(connection, one, f"untellable: {error}")
    if not told:
        return
    try:
        async with connection.transaction():
            await take_in(connection, [telling for _, telling in told])
    except Exception as error:
        if is_infrastructure(error):
            raise
        for one, telling in sorted(told, key=lambda pair: pair[1].waba_id):  # the locks' order
            await _make_alone(connection, one, telling)


async def _make_alone(connection: Connection, one: New, telling: Telling) -> None:
    try:
        async with connection.transaction():
            await take_in(connection, [telling])
    except Exception as error:
        if is_infrastructure(error):
            raise
        await _fail(connection, one, describe(error))


async def _fail(connection: Connection, one: New, error: str) -> None:
    log.warning("change.failed", change_id=one.id, webhook_id=one.webhook_id, reason=error)
    await changes.fail(connection, one, error)
