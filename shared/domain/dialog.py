"""What Meta's dialog (Embedded Signup) reports to the browser: its events, and the WABAs it names.

All of it is a claim until a token proves it. A window that the customer closed reports nothing.
Source: Embedded Signup, Implementation, Mar 2026.
"""

from collections.abc import Mapping
from typing import Any

from shared.domain.remedies import Reason
from shared.domain.splitting import as_id

COEXISTENCE = "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING"
#: The customer has finished it.
FINISHES = frozenset(
    {
        "FINISH",
        "FINISH_ONLY_WABA",
        COEXISTENCE,
        "FINISH_OBO_MIGRATION",
        "FINISH_GRANT_ONLY_API_ACCESS",
    }
)
#: It ended without a result.
CANCEL, ERROR = "CANCEL", "ERROR"
NO_RESULT: Mapping[str, Reason] = {CANCEL: "cancelled", ERROR: "error_reported"}
#: This event is not Meta's: a page sends it when Meta's script gives no code.
CODE_MISSING = "CODE_MISSING"
#: WABAs of one message that are looked at.
MAX_NAMED = 50


def without_result(event: str, data: Mapping[str, Any]) -> str:
    """Return CANCEL or ERROR, whichever a message that is none of FINISHES means.

    Meta reports errors under CANCEL too (Embedded Signup, Errors, Feb 2026).
    """
    is_error = event == ERROR or "error_code" in data or "error_message" in data
    return ERROR if is_error else CANCEL


def named_wabas(data: Mapping[str, Any]) -> list[str]:
    """Return the WABAs that a message names. If it names one beside a list, return the one."""
    if (waba_id := as_id(data.get("waba_id"))) is not None:
        return [waba_id]
    several = data.get("waba_ids")
    named = several[:MAX_NAMED] if isinstance(several, list) else []
    return sorted({waba_id for value in named if (waba_id := as_id(value)) is not None})
