"""Check whether a customer's token proves the WABA that the browser named. Pure functions."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from shared.domain.remedies import Reason

#: The permission to read a WABA and subscribe our app to it. Meta does not always name it in its
#: reports of valid tokens (seen since June 2026), so only its entry counts, not its absence.
SCOPE = "whatsapp_business_management"


class ProofRefused(Exception):
    """The token proves nothing yet."""

    def __init__(self, reason: Reason) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What Meta reports about a token.

    `wabas` are the WABAs it grants; None: all, or Meta does not tell. `user_id` is the person
    who granted it (needed for Meta's deauthorise callback). `expires_at` None: it never expires.
    `data_access_ends_at` None: never, or not told.
    """

    is_valid: bool
    app_id: str
    wabas: frozenset[str] | None
    user_id: str | None
    expires_at: datetime | None
    data_access_ends_at: datetime | None = None

    def or_ending(self, at: datetime | None) -> "TokenReport":
        """Return the report. If it tells no end, it ends when Meta said as it issued the token."""
        return replace(self, expires_at=self.expires_at or at)


def proven_wabas(
    report: TokenReport,
    *,
    app_id: str,
    session_waba: str | None,
    session_wabas: Collection[str] = (),
    connected: Collection[str] = (),
) -> Sequence[str]:
    """Return the WABAs that the token is for: one, or those that the customer must choose from. The
    caller must still read each with the token.

    `session_waba` is the WABA the browser named; it is accepted only if the token grants it. If it
    is None, the browser may have named several, `session_wabas`. The token must then grant exactly
    one WABA, or exactly one beside the WABAs that the organization has `connected`. Otherwise there
    is a choice. Raise ProofRefused.
    """
    if report.app_id != app_id:
        raise ProofRefused("wrong_app")
    if not report.is_valid:
        raise ProofRefused("token_invalid")
    if session_waba is not None:
        if report.wabas is not None and session_waba not in report.wabas:
            raise ProofRefused("waba_not_granted")
        return [session_waba]
    granted = frozenset(session_wabas)
    if report.wabas is not None:
        granted = report.wabas & granted or report.wabas
    if not granted:
        raise ProofRefused("session_needed" if report.wabas is None else "waba_not_granted")
    new = granted - frozenset(connected)
    return sorted(new if len(new) == 1 else granted, key=int)
