"""The effects of changes: together under one savepoint or, if that fails, one each."""

from collections.abc import Sequence

import orjson

from shared.actions.connection_state import take_in
from shared.actions.failures import Failing, Failure
from shared.domain.account_changes import FIELDS, Telling, Untellable, tell
from shared.store.due import Claim
from shared.store.errors import is_infrastructure
from shared.store.intake import webhooks
from shared.store.intake.changes import New
from shared.store.pool import Conn

Told = tuple[New, Telling]


async def make_effects(conn: Conn, new: Sequence[New], failing: Failing) -> list[Failure]:
    """Make the effects of changes just stored, in their transaction; what failed.

    A change whose effects cannot be made is left failed or dead, alone; the servers' errors are
    raised.
    """
    told: list[Told] = []
    errors: list[tuple[New, Exception]] = []
    for one in new:
        if one.change.field not in FIELDS:
            continue
        try:
            if telling := tell(orjson.loads(one.change.content), one.received_at):
                told.append((one, telling))
        except Untellable as error:
            errors.append((one, error))
    if told:
        errors += await _take_in(conn, told)
    failed: list[Failure] = []
    for one, why in errors:
        failed.append(await failing.fail_change(conn, Claim(one.id, 1), why))
        await webhooks.unsettle(conn, one.webhook_id)
    return failed


async def _take_in(conn: Conn, told: Sequence[Told]) -> list[tuple[New, Exception]]:
    try:
        async with conn.transaction():
            await take_in(conn, [telling for _, telling in told])
    except Exception as error:
        if is_infrastructure(error):
            raise
        if len(told) == 1:
            return [(told[0][0], error)]
        alone = sorted(told, key=lambda pair: pair[1].waba_id)  # the locks' order
        return [failed for one in alone for failed in await _take_in(conn, [one])]
    return []
