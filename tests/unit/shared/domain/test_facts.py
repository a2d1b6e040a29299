"""Merge facts, and derive a connection's status from them."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.facts import (
    COMPLETE,
    ConnectionStatus,
    Fact,
    FactName,
    live_facts,
    merge,
    status_of,
    with_takedown,
)

START = datetime(2026, 11, 1, tzinfo=UTC)
FACTS = st.builds(
    Fact,
    st.sampled_from(["shared", "app", "phone_link", "ban"]),
    st.sampled_from(["shared", "unshared", "installed", "linked", "offboarded", "none"]),
    st.integers(0, 5).map(lambda seconds: START + timedelta(seconds=seconds)),
)


@given(st.lists(FACTS, max_size=8), st.randoms(use_true_random=False), st.integers(0, 8))
def test_order_repetition_and_grouping_change_nothing(
    facts: list[Fact], random: Random, cut: int
) -> None:
    shuffled = facts * 2
    random.shuffle(shuffled)
    in_groups = merge(merge(shuffled[:cut]).values(), merge(shuffled[cut:]).values())
    assert in_groups == merge(facts)


def test_the_later_fact_counts_and_of_two_at_the_same_time_the_takedown() -> None:
    later = START + timedelta(seconds=1)
    shared, unshared = Fact("shared", "shared", START), Fact("shared", "unshared", START)
    assert merge([shared, unshared]) == merge([unshared, shared]) == {("shared", ""): unshared}
    again = Fact("shared", "shared", later)
    assert merge([unshared], [again]) == {("shared", ""): again}


def test_a_number_has_its_own_facts() -> None:
    first, second = (
        Fact("name", "approved", START, "1555"),
        Fact("name", "rejected", START, "1666"),
    )
    assert merge([first, second]) == {("name", "1555"): first, ("name", "1666"): second}


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({}, ConnectionStatus("provisioning")),
        ({"shared": "shared", "app": "installed"}, ConnectionStatus("provisioning")),
        ({"shared": "unshared"}, ConnectionStatus("disconnected", "unshared")),
        ({"app": "uninstalled"}, ConnectionStatus("disconnected", "uninstalled")),
        ({"phone_link": "offboarded"}, ConnectionStatus("offboarded", "offboarded")),
        ({"phone_link": "change_number"}, ConnectionStatus("disconnected", "change_number")),
        ({"ban": "scheduled"}, ConnectionStatus("provisioning", "ban_scheduled")),
        ({"ban": "disabled", "shared": "unshared"}, ConnectionStatus("disabled", "banned")),
        ({"ban": "none"}, ConnectionStatus("provisioning")),
        ({"deleted": "deleted", "ban": "disabled"}, ConnectionStatus("disconnected", "deleted")),
        ({"review": "rejected", "country": "br"}, ConnectionStatus("provisioning")),
    ],
)
def test_the_state_follows_from_the_facts(
    facts: dict[FactName, str], expected: ConnectionStatus
) -> None:
    assert status_of(facts_at_start(facts), is_owned=True) == expected


def test_a_live_connection_without_an_owner_is_an_orphan() -> None:
    live = {fact.name: fact for fact in live_facts(START)}
    assert status_of(live, is_owned=False) == ConnectionStatus("orphan")
    unshared = live | facts_at_start({"shared": "unshared"})
    assert status_of(unshared, is_owned=False) == ConnectionStatus("disconnected", "unshared")


def test_a_connection_set_up_after_its_last_takedown_is_active() -> None:
    later = START + timedelta(seconds=1)
    set_up = {**facts_at_start({"shared": "shared"}), "setup": Fact("setup", COMPLETE, later)}
    assert status_of(set_up, is_owned=True) == ConnectionStatus("active")
    for at, expected in ((START, "active"), (later, "provisioning")):
        with_end = {**set_up, "takedown": Fact("takedown", "offboarded", at)}
        assert status_of(with_end, is_owned=True).state == expected


def test_a_blocked_setup_gives_its_reason() -> None:
    blocked = facts_at_start({"setup": "pin_needed"})
    assert status_of(blocked, is_owned=True) == ConnectionStatus("provisioning", "pin_needed")


@given(st.lists(FACTS, max_size=8), st.randoms(use_true_random=False))
def test_the_last_takedown_is_found_in_any_order(facts: list[Fact], random: Random) -> None:
    shuffled = facts * 2
    random.shuffle(shuffled)
    ends = [f.at for f in facts if f.is_takedown and f.value in ("unshared", "offboarded")]
    takedown = merge(with_takedown(shuffled)).get(("takedown", ""))
    if ends:
        assert takedown is not None
        assert takedown.at >= max(ends)
    assert merge(with_takedown(facts)) == merge(with_takedown(shuffled))


def test_an_announced_ban_ends_nothing() -> None:
    announced = [Fact("ban", "scheduled", START)]
    assert with_takedown(announced) == announced


def facts_at_start(facts: dict[FactName, str]) -> dict[FactName, Fact]:
    return {name: Fact(name, value, START) for name, value in facts.items()}
