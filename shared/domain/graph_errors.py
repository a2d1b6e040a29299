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
    """A call to Meta failed. `code` and `subcode` are Meta's numbers; None: it gave none."""

    policy: ClassVar[Policy]

    def __init__(self, reason: Reason, code: int | None = None, subcode: int | None = None) -> None:
        self.reason = reason
        self.code = code
        self.subcode = subcode
        super().__init__(f"{reason} ({code}/{subcode})")

    @property
    def is_token_dead(self) -> bool:
        """Whether the token itself will never work again."""
        return self.code in (190, 452) and self.reason == "reconnect"


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
_CUSTOMER: dict[int, Reason] = {
    190: "reconnect",
    452: "reconnect",
    368: "policy_block",
    LOCKED: "account_locked",
    130497: "country_restricted",
    131042: "payment_missing",
    131045: "not_registered",
    133005: "pin_needed",
    133006: "not_verified",
    2593108: "sync_late",
}
#: Limits on one number, not on its WABA: on registrations and on wrong PINs.
NUMBER_LIMITS = {133008, 133009, 133016}
_NEVER: dict[int, Reason] = {
    0: "permission_missing",
    3: "permission_missing",
    10: "permission_missing",
    131005: "permission_missing",
    33: "number_deleted",
    100: "bad_request",
    803: "not_found",
    2593107: "sync_used",
    133010: "never_registered",
    2593109: "history_declined",
}
_CHECKPOINTS = {459, 464}


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
    if code == 100 and subcode == 33:
        return MetaRefused("not_found", code, subcode)
    if code in _NEVER:
        return MetaRefused(_NEVER[code], code, subcode)
    if 200 <= code <= 299:
        return MetaRefused("permission_missing", code, subcode)
    return MetaUnavailable("meta_unavailable", code, subcode)
