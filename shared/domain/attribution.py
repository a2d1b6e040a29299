"""Decide who owns a WABA and why. An open era is stronger than a business that owns the WABA."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal, get_args

#: How an organization became a WABA's owner: a token proved it, or an operator claimed it.
EraBasis = Literal["tracking_code", "claimed"]
ERA_BASES: tuple[EraBasis, ...] = get_args(EraBasis)
#: `owner_business`: the organization owns the business that owns the WABA. `former`: its era has
#: ended, and no other has begun.
Basis = EraBasis | Literal["owner_business", "former"]
#: Without an owner: nobody, several or another organization may turn out to be it.
Why = Literal[
    "tracking_code", "claimed", "owner_business", "former",
    "no_owner_known", "several_owners", "another_onboarding",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Owner:
    """`basis` says how we know the owner."""

    organization_id: str
    basis: Basis

    @property
    def is_provisional(self) -> bool:
        """Whether it is only told how the connection stands, and given no content."""
        return self.basis not in ERA_BASES


@dataclass(frozen=True, slots=True)
class Attribution:
    owner: Owner | None
    why: Why


def attribute(
    *,
    era_owner: Owner | None,
    business_owners: Collection[str],
    onboarding: Collection[str],
) -> Attribution:
    """Decide the owner of a WABA.

    `era_owner` is the owner by the WABA's last era: provisional if that era has ended.
    `business_owners` are the organizations that own the WABA's owner business. `onboarding` are
    the organizations with an open onboarding whose browser named this WABA.
    """
    if era_owner is not None:
        return Attribution(era_owner, era_owner.basis)
    owners = set(business_owners)
    if len(owners) != 1:
        return Attribution(None, "several_owners" if owners else "no_owner_known")
    if set(onboarding) - owners:
        return Attribution(None, "another_onboarding")
    return Attribution(Owner(owners.pop(), "owner_business"), "owner_business")
