"""Whether a customer's token proves what the browser claimed: pure."""

from dataclasses import dataclass
from datetime import datetime

#: Without it neither a WABA can be read nor our app subscribed.
SCOPE = "whatsapp_business_management"


class Unproven(Exception):
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


def proven_waba(report: TokenReport, *, app_id: str, claimed: str | None) -> str:
    """The WABA this token is for, still to be read with it. Raises Unproven.

    `claimed` came from the browser: it is believed only where the token grants it. Without a claim
    the token must name exactly one WABA; else the browser's message is needed to tell which.
    """
    if report.app_id != app_id:
        raise Unproven("wrong_app")
    if not report.is_valid:
        raise Unproven("token_invalid")
    if SCOPE not in report.scopes:
        raise Unproven("permission_missing")
    if claimed is not None:
        if report.wabas is not None and claimed not in report.wabas:
            raise Unproven("waba_not_granted")
        return claimed
    if report.wabas is not None and len(report.wabas) == 1:
        return next(iter(report.wabas))
    raise Unproven("waba_not_granted" if report.wabas == frozenset() else "session_needed")
