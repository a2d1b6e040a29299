"""Whether a customer's token proves what the browser claimed: pure."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

#: Without it neither a WABA can be read nor our app subscribed.
SCOPE = "whatsapp_business_management"


#: The dialog's ends that are none of a closed window (Embedded Signup, Implementation, Mar 2026).
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
    """The token proves nothing yet; `reason` is a word of shared/domain/remedies.py."""

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class TokenReport:
    """What Meta says of a token. `wabas` None means all there are and will be.

    `expires_at` None: never. `user_id` is who granted it (for Meta's deauthorise callback).
    """

    is_valid: bool
    app_id: str
    scopes: frozenset[str]
    wabas: frozenset[str] | None
    user_id: str | None
    expires_at: datetime | None


def proven_waba(
    report: TokenReport, *, app_id: str, claimed: str | None, connected: Collection[str] = ()
) -> str:
    """The WABA this token is for, still to be read with it. Raises Unproven.

    `claimed` came from the browser: it is believed only where the token grants it. Without a claim
    the token must name exactly one WABA, or one beside those the organization has `connected`; else
    the browser's message is needed to tell which.
    """
    if report.app_id != app_id:
        raise ProofRefused("wrong_app")
    if not report.is_valid:
        raise ProofRefused("token_invalid")
    if SCOPE not in report.scopes:
        raise ProofRefused("permission_missing")
    if claimed is not None:
        if report.wabas is not None and claimed not in report.wabas:
            raise ProofRefused("waba_not_granted")
        return claimed
    for wabas in (report.wabas or frozenset(), (report.wabas or frozenset()) - set(connected)):
        if len(wabas) == 1:
            return next(iter(wabas))
    raise ProofRefused("waba_not_granted" if report.wabas == frozenset() else "session_needed")
