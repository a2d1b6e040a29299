"""Merge facts, and derive a connection's status from them."""

from datetime import UTC, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.facts import (
    COMPLETE,
    CONFLICT,
    ConnectionStatus,
    Fact,
    FactName,
    NumberLink,
    conflict,
    link_of_number,
    live_facts,
    merge,
    status_of,
    whole_second,
    with_takedown,
)
from shared.domain.remedies import BY_US

START = datetime(2026, 11, 1, tzinfo=UTC)
FACTS = st.builds(
    Fact,
    st.sampled_from(["shared", "app", "phone_link", "ban", "reach"]),  # `reach` is a check's
    st.sampled_from(["shared", "unshared", "installed", "linked", "offboarded", "none", "reached"]),
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


def test_an_announced_ban_is_named_whatever_the_state() -> None:
    announced = facts_at_start({"ban": "scheduled", "setup": COMPLETE})
    assert status_of(announced, is_owned=True) == ConnectionStatus("active", "ban_scheduled")
    assert status_of(announced, is_owned=False) == ConnectionStatus("orphan", "ban_scheduled")


def test_a_connection_set_up_after_its_last_takedown_is_active() -> None:
    later = START + timedelta(seconds=1)
    set_up = {**facts_at_start({"shared": "shared"}), "setup": Fact("setup", COMPLETE, later)}
    assert status_of(set_up, is_owned=True) == ConnectionStatus("active")
    for at, expected in ((START, "active"), (later, "provisioning")):
        with_end = {**set_up, "takedown": Fact("takedown", "offboarded", at)}
        assert status_of(with_end, is_owned=True).state == expected


def test_a_connection_works_while_one_of_its_numbers_has_its_link() -> None:
    later = START + timedelta(seconds=1)
    set_up = facts_at_start({"setup": COMPLETE})
    cut = NumberLink(Fact("phone_link", "change_number", later, "1555"), later)
    whole = NumberLink()
    assert status_of(set_up, [cut, whole], is_owned=True) == ConnectionStatus("active")
    assert status_of(set_up, [cut], is_owned=True) == ConnectionStatus(
        "disconnected", "change_number"
    )
    linked_again = NumberLink(Fact("phone_link", "linked", later, "1555"), later)
    assert status_of(set_up, [linked_again], is_owned=True) == ConnectionStatus("provisioning")


def test_a_cut_that_names_no_number_is_of_those_on_the_app() -> None:
    about = {(fact.name, fact.digits): fact for fact in (
        Fact("phone_link", "offboarded", START), Fact("link_takedown", "offboarded", START),
    )}  # fmt: skip
    assert link_of_number(about, "1555", is_cloud=False).cut
    assert link_of_number(about, "1555", is_cloud=True) == NumberLink()


def test_a_share_of_the_waba_links_a_number_that_was_cut_before() -> None:
    later = START + timedelta(seconds=1)
    about = {(fact.name, fact.digits): fact for fact in (
        Fact("phone_link", "change_number", START, "1555"), Fact("phone_link", "linked", later),
    )}  # fmt: skip
    assert not link_of_number(about, "1555", is_cloud=True).cut


def test_a_blocked_setup_gives_its_reason() -> None:
    blocked = facts_at_start({"setup": "pin_needed"})
    assert status_of(blocked, is_owned=True) == ConnectionStatus("provisioning", "pin_needed")


@given(st.lists(FACTS, max_size=8), st.randoms(use_true_random=False))
def test_the_last_takedown_is_found_in_any_order(facts: list[Fact], random: Random) -> None:
    shuffled = facts * 2
    random.shuffle(shuffled)
    for name in ("takedown", "link_takedown"):
        ends = [f.at for f in facts if f.is_takedown and f.value in ("unshared", "offboarded")
                and (f.name == "phone_link") == (name == "link_takedown")]  # fmt: skip
        takedown = merge(with_takedown(shuffled)).get((name, ""))
        if ends:
            assert takedown is not None
            assert takedown.at >= max(ends)
    assert merge(with_takedown(facts)) == merge(with_takedown(shuffled))


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("shared", "unshared", ["shared", "takedown", "waba_takedown"]),
        ("app", "uninstalled", ["app", "takedown", "waba_takedown"]),
        ("deleted", "deleted", ["deleted", "takedown", "waba_takedown"]),
        ("shared", BY_US, ["shared", "takedown"]),
        ("phone_link", "offboarded", ["phone_link", "link_takedown"]),
        ("review", "rejected", ["review"]),
    ],
)
def test_only_a_customers_own_takedown_of_the_waba_puts_its_era_in_doubt(
    name: FactName, value: str, expected: list[str]
) -> None:
    facts = with_takedown([Fact(name, value, START)])

    assert [fact.name for fact in facts] == expected
    assert {(fact.value, fact.at) for fact in facts} == {(value, START)}


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(
    ("stored", "new", "apart", "expected"),
    [
        (("shared", "shared"), ("shared", "unshared"), CONFLICT, True),
        (("shared", "unshared"), ("shared", "shared"), CONFLICT, True),
        (("app", "installed"), ("app", "uninstalled"), timedelta(0), True),
        (("deleted", "no"), ("deleted", "deleted"), timedelta(0), True),
        (("shared", "shared"), ("shared", "unshared"), CONFLICT + timedelta(seconds=1), False),
        (("shared", "shared"), ("shared", "shared"), timedelta(0), False),
        (("shared", "unshared"), ("shared", BY_US), timedelta(0), False),
        (("app", "installed"), ("shared", "unshared"), timedelta(0), False),
        (("phone_link", "linked"), ("phone_link", "offboarded"), timedelta(0), False),
    ],
)
def test_close_facts_of_the_waba_that_contradict_each_other_conflict(
    stored: tuple[FactName, str],
    new: tuple[FactName, str],
    apart: timedelta,
    sign: int,
    expected: bool,
) -> None:
    before, after = Fact(*stored, START), Fact(*new, START + sign * apart)

    agreeing = Fact("owner_business", "900000000000020", START)
    assert conflict({before.name: before}, [agreeing, after]) is expected


def test_a_time_of_ours_is_compared_in_whole_seconds() -> None:
    assert whole_second(START + timedelta(microseconds=999_999)) == START


def test_an_announced_ban_ends_nothing() -> None:
    announced = [Fact("ban", "scheduled", START)]
    assert with_takedown(announced) == announced


def facts_at_start(facts: dict[FactName, str]) -> dict[FactName, Fact]:
    return {name: Fact(name, value, START) for name, value in facts.items()}
