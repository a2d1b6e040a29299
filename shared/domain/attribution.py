"""Decide who owns a WABA and why. A proof is stronger than a business that owns the WABA."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

Basis = Literal["tracking_code", "owner_business", "withdrawn"]
Why = Literal[
    "tracking_code", "owner_business", "withdrawn",
    "no_owner_known", "several_owners", "another_onboarding",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owner:
    """`basis` says how we know the owner. Only `tracking_code`, confirmed by a proof, is final."""

    organization_id: str
    basis: Basis

    @property
    def is_proven(self) -> bool:
        return self.basis == "tracking_code"


@dataclass(frozen=True, slots=True)
class Attribution:
    owner: Owner | None
    why: Why


def attribute(
    current: Owner | None,
    *,
    proofs: Sequence[str],
    business_owners: Collection[str],
    onboarding: Collection[str],
) -> Attribution:
    """Decide the owner of a WABA. A proven owner keeps it while its proof is valid.

    `proofs` are the organizations whose onboardings proved this WABA, the earliest proof first.
    They exclude withdrawn proofs: when an organization disconnects, the WABA passes to the next
    one. Until there is a next one, the organization that disconnected is its provisional owner:
    changes received from then on do not belong to it.
    `business_owners` are the organizations that own the WABA's owner business. `onboarding` are
    the organizations with an open onboarding that may still name this WABA.
    """
    if proofs and not (current and current.is_proven and current.organization_id in proofs):
        current = Owner(proofs[0], "tracking_code")
    elif current and current.is_proven and not proofs:
        current = Owner(current.organization_id, "withdrawn")
    if current:  # only a proof can change an owner
        return Attribution(current, current.basis)
    owners = set(business_owners)
    if len(owners) != 1:
        return Attribution(None, "several_owners" if owners else "no_owner_known")
    if set(onboarding) - owners:
        return Attribution(None, "another_onboarding")
    return Attribution(Owner(owners.pop(), "owner_business"), "owner_business")
