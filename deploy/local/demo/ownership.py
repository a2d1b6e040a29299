"""The demo's second part: the owner of each WABA, why it is the owner, and the WABA's status."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from deploy.local.demo.bodies import NOW, PARTNER, Body, message_of, webhook
from deploy.local.simulated_meta.writing import write
from services.ingress.short_form import expand

BAKERY, PHARMACY, FLORIST = "bakery", "pharmacy", "florist"
BAKERY_BUSINESS, SHARED_BUSINESS, UNKNOWN_BUSINESS = (f"73000000000010{n}" for n in range(3))
FIRST, SECOND, ORPHAN, DISPUTED = (f"72000000000010{n}" for n in range(4))
STAGING_FORM = b'{"type": "partner-added", "trackingCode": "test-123"}'


@dataclass(frozen=True, slots=True)
class Organization:
    """An organization, with its business and the tracking code of its open onboarding, if any."""

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
    """First the organizations are created, then the proof is recorded, then the posts are sent.

    `expected` is owner, attribution, state and reason. `owned_changes` is how many changes of the
    WABA must have an owner at the end (None: not checked).
    """

    title: str
    waba_id: str
    expected: tuple[str | None, str, str, str | None]
    organizations: Sequence[Organization] = ()
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
            "COX-1, staging: the body has the tracking code of an onboarding; sent twice",
            _staging_waba(),
            (BAKERY, "tracking_code", "provisioning", None),
            organizations=[Organization(BAKERY, tracking_code="test-123")],
            staging=[STAGING_FORM, STAGING_FORM],
        ),
        Scene(
            "a WABA is shared during the bakery's onboarding: nothing is proven yet",
            FIRST,
            (None, "no_owner_known", "orphan", None),
            organizations=[Organization(BAKERY, tracking_code="demo-bakery")],
            posts=[added, write(message_of(FIRST, 1))],
            owned_changes=0,
        ),
        Scene(
            "COX-1: its session is proven: the earlier changes now belong to the bakery",
            FIRST,
            (*proven, "provisioning", None),
            proof=Proof("demo-bakery", FIRST, BAKERY_BUSINESS),
            owned_changes=2,
        ),
        Scene(
            "the same share is sent three more times",
            FIRST,
            (*proven, "provisioning", None),
            posts=[added] * 3,
            owned_changes=2,
        ),
        Scene(
            "a removal that is older than the share arrives late",
            FIRST,
            (*proven, "provisioning", None),
            posts=[partner("PARTNER_REMOVED", FIRST, BAKERY_BUSINESS, -5)],
        ),
        Scene(
            "COX-2: the same business shares a second WABA, without a tracking code",
            SECOND,
            (*provisional, "provisioning", None),
            posts=[partner("PARTNER_APP_INSTALLED", SECOND, BAKERY_BUSINESS, 1)],
        ),
        Scene(
            "COX-3: an unknown business shares a WABA",
            ORPHAN,
            (None, "no_owner_known", "orphan", None),
            posts=[partner("PARTNER_ADDED", ORPHAN, UNKNOWN_BUSINESS, 2),
                   write(message_of(ORPHAN, 2))],
            owned_changes=0,
        ),
        Scene(
            "the pharmacy proves that the orphan is its own",
            ORPHAN,
            (PHARMACY, "tracking_code", "provisioning", None),
            organizations=[Organization(PHARMACY, tracking_code="demo-pharmacy")],
            proof=Proof("demo-pharmacy", ORPHAN, UNKNOWN_BUSINESS),
            owned_changes=2,
        ),
        Scene(
            "two organizations have the business that shares a WABA",
            DISPUTED,
            (None, "several_owners", "orphan", None),
            organizations=[Organization(PHARMACY, SHARED_BUSINESS),
                           Organization(FLORIST, SHARED_BUSINESS)],
            posts=[partner("PARTNER_ADDED", DISPUTED, SHARED_BUSINESS, 3)],
        ),
        Scene(
            "coexistence: the customer moved to another phone",
            FIRST,
            (*proven, "offboarded", "offboarded"),
            posts=[account(FIRST, 10, event="ACCOUNT_OFFBOARDED")],
        ),
        Scene(
            "the customer reconnected",
            FIRST,
            (*proven, "provisioning", None),
            posts=[account(FIRST, 11, event="ACCOUNT_RECONNECTED")],
        ),
        Scene(
            "coexistence: the customer changed the number (webhook without waba_info)",
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
            "the customer shares the WABA again",
            FIRST,
            (*proven, "provisioning", None),
            posts=[partner("PARTNER_ADDED", FIRST, BAKERY_BUSINESS, 13)],
        ),
        Scene(
            "Meta bans the WABA",
            FIRST,
            (*proven, "disabled", "banned"),
            posts=[account(FIRST, 14, event="DISABLED_UPDATE",
                           ban_info={"waba_ban_state": "DISABLE"})],
        ),
        Scene(
            "the app is removed, and the ban is lifted",
            FIRST,
            (*proven, "disconnected", "uninstalled"),
            posts=[
                account(FIRST, 15, event="DISABLED_UPDATE",
                        ban_info={"waba_ban_state": "REINSTATE"}),
                partner("PARTNER_APP_UNINSTALLED", FIRST, BAKERY_BUSINESS, 15),
            ],
        ),
    ]  # fmt: skip
