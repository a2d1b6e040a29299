"""Whose a WABA is: proof beats business beats nothing, and why."""

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
    """`basis` says how it is known; only a tracking code, joined by a proof, is final."""

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
    """Decide the owner of a WABA; of two proofs the one that was here first holds.

    `proofs` are the organizations whose onboardings proved this WABA, the first first; one that was
    withdrawn (its organization disconnected) is not among them, and leaves the WABA to the next.
    Until there is one, its organization is a provisional owner: what still comes is not its own.
    `business_owners` are those that own its owner business, `onboarding` those with an open
    onboarding that may yet name it.
    """
    if proofs and not (current and current.is_proven and current.organization_id in proofs):
        current = Owner(proofs[0], "tracking_code")
    elif current and current.is_proven and not proofs:
        current = Owner(current.organization_id, "withdrawn")
    if current:  # changes by nothing but a proof
        return Attribution(current, current.basis)
    owners = set(business_owners)
    if len(owners) != 1:
        return Attribution(None, "several_owners" if owners else "no_owner_known")
    if set(onboarding) - owners:
        return Attribution(None, "another_onboarding")
    return Attribution(Owner(owners.pop(), "owner_business"), "owner_business")
