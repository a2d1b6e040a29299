"""Check whether a customer's token proves the WABA that the browser named. Pure functions."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from shared.domain.remedies import Reason

#: The permission to read a WABA and subscribe our app to it. Meta does not always name it in its
#: reports of valid tokens (seen since June 2026), so only its entry counts, not its absence.
SCOPE = "whatsapp_business_management"


#: The events of a finished dialog (Embedded Signup, Implementation, Mar 2026). A window that the
#: customer closed sends none of them.
COEXISTENCE = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"
FINISHES = frozenset(
    {
        "FINISH",
        "FINISH_ONLY_WABA",
        COEXISTENCE,
        "FINISH_OBO_MIGRATION",
        "FINISH_GRANT_ONLY_API_ACCESS",
    }
)


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
    """

    is_valid: bool
    app_id: str
    wabas: frozenset[str] | None
    user_id: str | None
    expires_at: datetime | None


def proven_waba(
    report: TokenReport, *, app_id: str, session_waba: str | None, connected: Collection[str] = ()
) -> str:
    """Return the WABA that the token is for. The caller must still read it with the token.

    `session_waba` is the WABA the browser named; it is accepted only if the token grants it. If it
    is None, the token must grant exactly one WABA, or exactly one beside the WABAs that the
    organization has `connected`. Otherwise the browser's message is needed.
    Raise ProofRefused.
    """
    if report.app_id != app_id:
        raise ProofRefused("wrong_app")
    if not report.is_valid:
        raise ProofRefused("token_invalid")
    if session_waba is not None:
        if report.wabas is not None and session_waba not in report.wabas:
            raise ProofRefused("waba_not_granted")
        return session_waba
    for wabas in (report.wabas or frozenset(), (report.wabas or frozenset()) - set(connected)):
        if len(wabas) == 1:
            return next(iter(wabas))
    raise ProofRefused("waba_not_granted" if report.wabas == frozenset() else "session_needed")
