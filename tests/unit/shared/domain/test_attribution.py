"""Decide the owner of a WABA: a proof first, else the only owner of its business, else none."""

import pytest

from shared.domain.attribution import Attribution, Owner, Why, attribute

PROVEN = Owner("ana", "tracking_code")
PROVISIONAL = Owner("ana", "owner_business")


def decide(
    current: Owner | None = None,
    proofs: tuple[str, ...] = (),
    owners: tuple[str, ...] = (),
    onboarding: tuple[str, ...] = (),
) -> Attribution:
    return attribute(current, proofs=proofs, business_owners=owners, onboarding=onboarding)


def test_a_proof_decides_whatever_the_owner_business_is() -> None:
    assert decide(proofs=("ana",), owners=("bia",), onboarding=("bia",)) == Attribution(
        PROVEN, "tracking_code"
    )


def test_without_a_proof_the_only_owner_of_the_business_is_the_provisional_one() -> None:
    attribution = decide(owners=("ana",), onboarding=("ana",))
    assert attribution == Attribution(PROVISIONAL, "owner_business")
    assert attribution.owner is not None
    assert not attribution.owner.is_proven


@pytest.mark.parametrize(
    ("owners", "onboarding", "why"),
    [
        ((), (), "no_owner_known"),
        ((), ("bia",), "no_owner_known"),
        (("ana", "bia"), (), "several_owners"),
        (("ana",), ("bia",), "another_onboarding"),
    ],
)
def test_without_proof_or_a_single_business_owner_it_stays_an_orphan(
    owners: tuple[str, ...], onboarding: tuple[str, ...], why: Why
) -> None:
    assert decide(owners=owners, onboarding=onboarding) == Attribution(None, why)


def test_a_proof_takes_over_a_provisional_owner() -> None:
    assert decide(PROVISIONAL, proofs=("bia",)) == Attribution(
        Owner("bia", "tracking_code"), "tracking_code"
    )


def test_only_a_proof_changes_an_owner() -> None:
    assert decide(PROVISIONAL, owners=("bia", "eva")).owner == PROVISIONAL
    assert decide(PROVEN, proofs=("ana",), owners=("bia",)).owner == PROVEN


def test_an_owner_whose_proof_was_withdrawn_is_provisional_until_the_next_proof() -> None:
    withdrawn = Owner("ana", "withdrawn")
    assert not withdrawn.is_proven
    assert decide(PROVEN, owners=("bia",)) == Attribution(withdrawn, "withdrawn")
    assert decide(withdrawn, owners=("bia",)) == Attribution(withdrawn, "withdrawn")
    assert decide(withdrawn, proofs=("bia",)).owner == Owner("bia", "tracking_code")
    assert decide(withdrawn, proofs=("ana",)).owner == PROVEN


def test_of_two_proofs_the_first_counts_until_it_is_withdrawn() -> None:
    assert decide(proofs=("ana", "bia")).owner == PROVEN
    assert decide(PROVEN, proofs=("bia", "ana")).owner == PROVEN
    assert decide(PROVEN, proofs=("bia",)).owner == Owner("bia", "tracking_code")
