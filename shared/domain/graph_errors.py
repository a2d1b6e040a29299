"""Meta's errors. Each has a policy: retry, wait, ask the customer, or never call again.

The codes come from Meta's error pages (Cloud API error codes; Graph API error handling, 2026).
"""

from typing import ClassVar, Literal

from shared.domain.remedies import Reason

Policy = Literal["retry", "wait", "customer", "never"]

#: Meta allows 10 register calls per number in 72 hours (Registration page).
REGISTER_LIMIT_SECONDS = 72 * 3600
#: How long we wait if Meta does not say how long a limit lasts; its windows last an hour.
LIMIT_SECONDS = 900


class GraphError(Exception):
    """A call to Meta failed. `code` and `subcode` are Meta's numbers; None: it gave none.

    `step` is the call's name, and empty if none was sent.
    """

    policy: ClassVar[Policy]
    step: str = ""

    def __init__(self, reason: Reason, code: int | None = None, subcode: int | None = None) -> None:
        self.reason = reason
        self.code = code
        self.subcode = subcode
        super().__init__(f"{reason} ({code}/{subcode})")

    @property
    def is_token_dead(self) -> bool:
        """Whether the token itself will never work again."""
        return self.code in (190, 452) and self.reason == "reconnect"

    @property
    def is_token_expired(self) -> bool:
        """Whether the token is dead because its time is over."""
        return self.subcode == _EXPIRED


class MetaUnavailable(GraphError):
    """Retry with back-off. We do not know whether the call had its effect."""

    policy = "retry"


class RegisterUnanswered(MetaUnavailable):
    """A register call got no answer. It counts against Meta's limit all the same, so it is retried
    only a few times, not for days."""


class MetaThrottled(GraphError):
    """Do not call again for `seconds`: an earlier call would prolong the limit."""

    policy = "wait"

    def __init__(self, seconds: float, code: int | None = None, subcode: int | None = None) -> None:
        super().__init__("throttled", code, subcode)
        self.seconds = seconds


class CustomerMustAct(GraphError):
    """The customer must act before the call can succeed."""

    policy = "customer"


class MetaRefused(GraphError):
    """Meta will always refuse this call."""

    policy = "never"


_RETRY = {1, 2, 131000, 131016, 131057}
_LIMITS = {4, 17, 32, 613, 80007, 80008, 130429, 131048, 131056}
LOCKED = 131031
PIN_MISMATCH = 133005
#: Limits on one number, not on its WABA: on wrong PINs, and on registrations.
PIN_LIMITS = {133008, 133009}
NUMBER_LIMITS = {*PIN_LIMITS, 133016}
#: Subcode of code 100 of a register call while Meta reviews the number's display name.
_NAME_UNDER_REVIEW = 2388001
_CUSTOMER: dict[int, Reason] = {
    190: "reconnect",
    452: "reconnect",
    368: "policy_block",
    LOCKED: "account_locked",
    130497: "country_restricted",
    131042: "payment_missing",
    131045: "not_registered",
    PIN_MISMATCH: "pin_needed",
    133006: "not_verified",
    2593108: "sync_late",
}
#: The customer declined to share their chats (Meta's page of error codes).
HISTORY_DECLINED = 2593109
_NEVER: dict[int, Reason] = {
    0: "permission_missing",
    3: "permission_missing",
    10: "permission_missing",
    131005: "permission_missing",
    33: "number_deleted",
    803: "not_found",
    2593107: "sync_used",
    133010: "never_registered",
    HISTORY_DECLINED: "history_declined",
}
#: Subcodes of code 100. 36008: a code is exchanged with another redirect_uri than the dialog had.
_NEVER_100: dict[int | None, Reason] = {33: "not_found", 36008: "redirect_uri_differs"}
#: Subcodes of code 190.
_CHECKPOINTS = {459, 464}
_EXPIRED = 463


def graph_error(
    code: int | None,
    subcode: int | None = None,
    *,
    status: int = 400,
    is_transient: bool = False,
    wait_seconds: float | None = None,
) -> GraphError:
    """Return the error that `code` means. Never raise: an unknown code gives MetaUnavailable.

    `status` is the HTTP status. It says little: Meta also answers a limit with 400. `wait_seconds`
    comes from Meta's usage headers.
    """
    if code in _LIMITS or (code is None and status == 429):
        return MetaThrottled(wait_seconds or LIMIT_SECONDS, code, subcode)
    if code == 133016:
        return MetaThrottled(REGISTER_LIMIT_SECONDS, code, subcode)
    if code in NUMBER_LIMITS:
        return MetaThrottled(LIMIT_SECONDS, code, subcode)
    if is_transient or code is None or code in _RETRY:
        return MetaUnavailable("meta_unavailable", code, subcode)
    return _lasting_error(code, subcode)


def _lasting_error(code: int, subcode: int | None) -> GraphError:
    if code == 190 and subcode in _CHECKPOINTS:
        return CustomerMustAct("checkpoint", code, subcode)
    if code in _CUSTOMER:
        return CustomerMustAct(_CUSTOMER[code], code, subcode)
    if code == 100:
        return _bad_parameter(subcode)
    if code in _NEVER:
        return MetaRefused(_NEVER[code], code, subcode)
    if 200 <= code <= 299:
        return MetaRefused("permission_missing", code, subcode)
    return MetaUnavailable("meta_unavailable", code, subcode)


def _bad_parameter(subcode: int | None) -> GraphError:
    if subcode == _NAME_UNDER_REVIEW:
        return CustomerMustAct("name_under_review", 100, subcode)
    return MetaRefused(_NEVER_100.get(subcode, "bad_request"), 100, subcode)
