"""The demo's second part: whose each WABA is, why, and how it stands."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.local.demo.bodies import NOW, PARTNER, Body, message_of, webhook
from deploy.local.simulated_meta.writing import write
from services.ingress.staging import expand

BAKERY, PHARMACY, FLORIST = "bakery", "pharmacy", "florist"
BAKERY_BUSINESS, SHARED_BUSINESS, UNKNOWN_BUSINESS = (f"73000000000010{n}" for n in range(3))
FIRST, SECOND, ORPHAN, TORN = (f"72000000000010{n}" for n in range(4))
STAGING_FORM = b'{"type": "partner-added", "trackingCode": "test-123"}'


@dataclass(frozen=True, slots=True)
class Known:
    """An organization, its business if known, and the tracking code of its open onboarding."""

    organization_id: str
    business_id: str | None = None
    tracking_code: str | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    tracking_code: str
    waba_id: str
    business_id: str


@dataclass(frozen=True, slots=True)
class Scene:
    """Known first, then posts, then the proof; `expected` is owner, why, state and its reason.

    `owned_changes`: how many of the WABA's changes the owner may see in the end, where told.
    """

    title: str
    waba_id: str
    expected: tuple[str | None, str, str, str | None]
    known: Sequence[Known] = ()
    posts: Sequence[bytes] = ()
    staging: Sequence[bytes] = ()
    proof: Proof | None = None
    owned_changes: int | None = None


def _staging_waba() -> str:
    body = expand(STAGING_FORM)
    return body.partition(b'"waba_id":"')[2].partition(b'"')[0].decode()


def partner(event: str, waba_id: str, business_id: str, minute: int) -> bytes:
    info = {"waba_id": waba_id, "owner_business_id": business_id}
    value = {"event": event, "waba_info": info}
    change = {"field": "account_update", "value": value}
    return write(webhook(PARTNER, change, time=NOW + 60 * minute))


def account(waba_id: str, minute: int, **value: Any) -> bytes:
    change: Body = {"field": "account_update", "value": value}
    return write(webhook(waba_id, change, time=NOW + 60 * minute))


def scenes() -> list[Scene]:
    added = partner("PARTNER_ADDED", FIRST, BAKERY_BUSINESS, 0)
    proven = (BAKERY, "tracking_code")
    provisional = (BAKERY, "owner_business")
    return [
        Scene(
            "COX-1, staging: the body carries an onboarding's tracking code; twice in a row",
            _staging_waba(),
            (BAKERY, "tracking_code", "provisioning", None),
            known=[Known(BAKERY, tracking_code="test-123")],
            staging=[STAGING_FORM, STAGING_FORM],
        ),
        Scene(
            "a WABA is shared while the bakery is onboarding: nothing is proven yet",
            FIRST,
            (None, "no_owner_known", "orphan", None),
            known=[Known(BAKERY, tracking_code="demo-bakery")],
            posts=[added, write(message_of(FIRST, 1))],
            owned_changes=0,
        ),
        Scene(
            "COX-1: its session is proven; what came meanwhile is the bakery's",
            FIRST,
            (*proven, "provisioning", None),
            proof=Proof("demo-bakery", FIRST, BAKERY_BUSINESS),
            owned_changes=2,
        ),
        Scene(
            "the share once more, three times",
            FIRST,
            (*proven, "provisioning", None),
            posts=[added] * 3,
            owned_changes=2,
        ),
        Scene(
            "a removal that is older than the share comes late",
            FIRST,
            (*proven, "provisioning", None),
            posts=[partner("PARTNER_REMOVED", FIRST, BAKERY_BUSINESS, -5)],
        ),
        Scene(
            "COX-2: the same business shares a second WABA, with no code",
            SECOND,
            (*provisional, "provisioning", None),
            posts=[partner("PARTNER_APP_INSTALLED", SECOND, BAKERY_BUSINESS, 1)],
        ),
        Scene(
            "COX-3: a WABA of a business nobody knows",
            ORPHAN,
            (None, "no_owner_known", "orphan", None),
            posts=[partner("PARTNER_ADDED", ORPHAN, UNKNOWN_BUSINESS, 2),
                   write(message_of(ORPHAN, 2))],
            owned_changes=0,
        ),
        Scene(
            "and claimed: the pharmacy proves that it is its own",
            ORPHAN,
            (PHARMACY, "tracking_code", "provisioning", None),
            known=[Known(PHARMACY, tracking_code="demo-pharmacy")],
            proof=Proof("demo-pharmacy", ORPHAN, UNKNOWN_BUSINESS),
            owned_changes=2,
        ),
        Scene(
            "a WABA of a business that two organizations own",
            TORN,
            (None, "several_owners", "orphan", None),
            known=[Known(PHARMACY, SHARED_BUSINESS), Known(FLORIST, SHARED_BUSINESS)],
            posts=[partner("PARTNER_ADDED", TORN, SHARED_BUSINESS, 3)],
        ),
        Scene(
            "coexistence: the client moved to another phone",
            FIRST,
            (*proven, "offboarded", "offboarded"),
            posts=[account(FIRST, 10, event="ACCOUNT_OFFBOARDED")],
        ),
        Scene(
            "and reconnected",
            FIRST,
            (*proven, "provisioning", None),
            posts=[account(FIRST, 11, event="ACCOUNT_RECONNECTED")],
        ),
        Scene(
            "coexistence: the client changed the number, told without waba_info",
            FIRST,
            (*proven, "disconnected", "change_number"),
            posts=[
                account(
                    FIRST, 12, event="PARTNER_REMOVED", phone_number="15550001111",
                    disconnection_info={"reason": "CHANGE_NUMBER", "initiated_by": "USER"},
                )
            ],
        ),
        Scene(
            "and shares it again",
            FIRST,
            (*proven, "provisioning", None),
            posts=[partner("PARTNER_ADDED", FIRST, BAKERY_BUSINESS, 13)],
        ),
        Scene(
            "Meta bans it",
            FIRST,
            (*proven, "disabled", "banned"),
            posts=[account(FIRST, 14, event="DISABLED_UPDATE",
                           ban_info={"waba_ban_state": "DISABLE"})],
        ),
        Scene(
            "the app is removed, and the ban lifted",
            FIRST,
            (*proven, "disconnected", "uninstalled"),
            posts=[
                account(FIRST, 15, event="DISABLED_UPDATE",
                        ban_info={"waba_ban_state": "REINSTATE"}),
                partner("PARTNER_APP_UNINSTALLED", FIRST, BAKERY_BUSINESS, 15),
            ],
        ),
    ]  # fmt: skip
