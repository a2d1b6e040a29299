"""Say in words what is wrong with an onboarding or a connection, and what to do about it."""

from dataclasses import dataclass
from typing import Literal

Actor = Literal["customer", "operator", "nobody"]

#: Why something does not work, by who must act.
CustomerReason = Literal[
    "reconnect", "checkpoint", "policy_block", "account_locked", "country_restricted",
    "payment_missing", "not_registered", "pin_needed", "pin_or_lock", "not_verified",
    "not_on_app", "sync_late", "wrong_app", "token_invalid", "permission_missing",
    "waba_not_granted", "session_needed", "waba_ambiguous", "code_refused", "code_lost",
    "cancelled", "error_reported", "link_closed", "expired", "owned_by_another", "unshared",
    "uninstalled", "offboarded", "account_disconnected", "disconnected_by_us", "banned",
    "ban_scheduled", "deleted", "unreachable",
]  # fmt: skip
OperatorReason = Literal[
    "app_token_refused", "never_registered", "bad_request", "not_found", "number_deleted",
    "history_declined", "failed", "meta_unavailable", "undecryptable", "never_finished", "orphan",
    "no_token",
]  # fmt: skip
NobodyReason = Literal[
    "exchanging", "proving", "awaiting_webhook", "throttled", "token_fetched",
    "subscription_lost", "owner_doubted",
]  # fmt: skip
#: What only our own code sees. Meta accepts a sync once, so a used one counts as done; the others
#: are what an `attribute` follow-up waits for.
InternalReason = Literal["sync_used", "assigning", "another_onboarding"]
Reason = CustomerReason | OperatorReason | NobodyReason | InternalReason
#: The reason of a connection that we disconnected.
BY_US: Reason = "disconnected_by_us"


@dataclass(frozen=True, slots=True)
class Remedy:
    """`who` must act. `text` may be shown to the customer unchanged."""

    who: Actor
    text: str


_CUSTOMER: dict[CustomerReason, str] = {
    "reconnect": "Connect your WhatsApp Business account again: Meta no longer accepts our access.",
    "checkpoint": "Log in to Facebook and finish what it asks of you, then connect again.",
    "policy_block": "Meta has restricted your account. Open Account Quality in Meta Business Suite"
    " and follow what it says.",
    "account_locked": "Meta has locked your account. Open Account Quality in Meta Business Suite.",
    "country_restricted": "Meta does not allow messages from your country with this account.",
    "payment_missing": "Add a payment method to your WhatsApp Business account in Meta Business"
    " Suite.",
    "not_registered": "Your number is not registered with WhatsApp: connect it again.",
    "pin_needed": "Your number has a two-step verification PIN. Tell it to us, or turn two-step"
    " verification off in WhatsApp Manager.",
    "pin_or_lock": "Meta did not register your number: it has another two-step verification PIN, or"
    " your account is locked. Tell us the PIN; if Account Quality in Meta Business Suite shows a"
    " lock, follow what it says.",
    "not_verified": "Verify your number in WhatsApp Manager, then connect again.",
    "not_on_app": "Meta connected your number without the WhatsApp Business app. Start again, and"
    " choose to connect the app you have; or ask us to connect the number without it.",
    "sync_late": "Chats can only be shared within 24 hours of connecting. Disconnect us in the"
    " WhatsApp Business app, then connect again.",
    "wrong_app": "The login was for another application: start again from our page.",
    "token_invalid": "The login is no longer valid: start again.",
    "permission_missing": "Start again, and leave all permissions that Meta asks for switched on.",
    "waba_not_granted": "Start again, and choose the WhatsApp Business account to connect.",
    "session_needed": "Your browser did not report which account you chose: try again.",
    "waba_ambiguous": "We could not tell which account you chose: start again, and share only the"
    " one you want to connect.",
    "code_refused": "The login expired or was used before: start again.",
    "code_lost": "The login was interrupted: start again.",
    "cancelled": "The dialog was closed: start again when you are ready.",
    "error_reported": "Meta's dialog reported an error: try again, or write to Meta's support.",
    "link_closed": "This link was closed: ask for a new one.",
    "expired": "This link has expired: ask for a new one.",
    "owned_by_another": "This WhatsApp Business account is connected by another organization. It"
    " must be disconnected there first.",
    "unshared": "You removed our access to the account. Connect it again.",
    "uninstalled": "You removed our app. Connect the account again.",
    "offboarded": "The WhatsApp Business app moved to another phone. Connect it again.",
    "account_disconnected": "The WhatsApp Business app was disconnected from us. Connect it again.",
    "disconnected_by_us": "The account was disconnected. Connect it again to use it.",
    "banned": "Meta has disabled the account. Ask for a review in Account Quality.",
    "ban_scheduled": "Meta will disable the account. Ask for a review in Account Quality.",
    "deleted": "The account was deleted at Meta.",
    "unreachable": "Meta no longer lets us reach the account. Connect it again.",
}
_OPERATOR: dict[OperatorReason, str] = {
    "app_token_refused": "Meta refused our app's own token: check META_APP_ACCESS_TOKEN.",
    "never_registered": "The number was never registered: provision again.",
    "bad_request": "Meta rejected our request as invalid: see the last error.",
    "not_found": "Meta does not know the account, or the token may not see it.",
    "number_deleted": "The number was deleted at Meta: provision again without it.",
    "history_declined": "The customer declined to share the chats.",
    "failed": "The last attempt failed by a fault of ours: see the logs, then provision again.",
    "meta_unavailable": "Meta repeatedly gave no answer that we understand: see its status page,"
    " then request the blocked work again.",
    "undecryptable": "The token cannot be decrypted: check TOKEN_ENCRYPTION_KEYS_PREVIOUS, or have"
    " the customer connect again.",
    "never_finished": "Each attempt stopped before it finished: see the logs.",
    "orphan": "No organization owns it: claim it for one, or send a reconnect link.",
    "no_token": "There is no token: send the organization a link to connect again.",
}
_NOBODY: dict[NobodyReason, str] = {
    "exchanging": "The login is being exchanged with Meta.",
    "proving": "Meta is being asked what the login is for.",
    "awaiting_webhook": "Waiting for Meta's first webhook of this account.",
    "throttled": "Meta limits our calls: the work continues by itself.",
    "token_fetched": "Our access was renewed, and the setup goes on.",
    "subscription_lost": "Meta stopped sending us this account's webhooks. We subscribe again.",
    "owner_doubted": "Meta is being asked whether the account is still shared with us.",
}
_REMEDIES: dict[str, Remedy] = {
    **{reason: Remedy("customer", text) for reason, text in _CUSTOMER.items()},
    **{reason: Remedy("operator", text) for reason, text in _OPERATOR.items()},
    **{reason: Remedy("nobody", text) for reason, text in _NOBODY.items()},
}


def remedy(reason: str | None, *, goes_on: bool = False) -> Remedy | None:
    """Return the remedy for a reason; None if nothing is wrong.

    `goes_on` says that the failed work is retried without anyone's help. For a reason of Meta's
    that we do not know (for example, of a phone's disconnection) the remedy is to connect again.
    """
    if reason is None:
        return None
    if goes_on and reason not in _NOBODY:
        return Remedy("nobody", "This takes longer than usual. We try again automatically.")
    return _REMEDIES.get(
        reason, Remedy("customer", "The connection ended at Meta's side. Connect it again.")
    )
