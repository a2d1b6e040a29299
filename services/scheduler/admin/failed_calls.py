"""How failed calls to Meta are shown."""

from services.scheduler.admin.tables import MAX_SHOWN, Columns, print_list
from shared.store.connections import failed_calls
from shared.store.connections.failed_calls import FailedCall
from shared.store.pool import Conn

_COLUMNS: Columns[FailedCall] = {
    "at": lambda failed: failed.at,
    "step": lambda failed: failed.step,
    "number": lambda failed: failed.phone_number_id or None,
    "reason": lambda failed: failed.reason,
    "code": lambda failed: failed.code,
    "subcode": lambda failed: failed.subcode,
}


async def print_failed_calls(conn: Conn, subject: str, *, as_json: bool) -> None:
    """Show the failed calls about a WABA or an onboarding, the newest first."""
    failed = await failed_calls.latest(conn, subject, limit=MAX_SHOWN)
    print_list(f"Failed calls of {subject} (UTC)", _COLUMNS, failed, as_json=as_json)
