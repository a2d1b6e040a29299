"""The owner of a WABA is the last era's, else the only owner of its business, else nobody."""

import pytest

from shared.domain.attribution import Attribution, Basis, Owner, Why, attribute

PROVISIONAL = Owner("ana", "owner_business")


def decide(
    era_owner: Owner | None = None,
    owners: tuple[str, ...] = (),
    onboarding: tuple[str, ...] = (),
) -> Attribution:
    return attribute(era_owner=era_owner, business_owners=owners, onboarding=onboarding)


@pytest.mark.parametrize("basis", ["tracking_code", "claimed", "former"])
def test_the_last_era_decides_whoever_owns_the_business(basis: Basis) -> None:
    owner = Owner("ana", basis)
    assert decide(owner, owners=("bia",), onboarding=("bia",)) == Attribution(owner, basis)
    assert owner.is_provisional == (basis == "former")


def test_without_an_era_the_only_owner_of_the_business_is_the_provisional_one() -> None:
    attribution = decide(owners=("ana",), onboarding=("ana",))
    assert attribution == Attribution(PROVISIONAL, "owner_business")
    assert attribution.owner is not None
    assert attribution.owner.is_provisional


@pytest.mark.parametrize(
    ("owners", "onboarding", "why"),
    [
        ((), (), "no_owner_known"),
        ((), ("bia",), "no_owner_known"),
        (("ana", "bia"), (), "several_owners"),
        (("ana",), ("bia",), "another_onboarding"),
    ],
)
def test_without_an_era_or_a_single_business_owner_it_stays_an_orphan(
    owners: tuple[str, ...], onboarding: tuple[str, ...], why: Why
) -> None:
    assert decide(owners=owners, onboarding=onboarding) == Attribution(None, why)
