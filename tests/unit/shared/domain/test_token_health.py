"""What follows from a check: every reason at its boundary second, and no state by one answer."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.graph_errors import MetaThrottled, MetaUnavailable, graph_error
from shared.domain.remedies import remedy
from shared.domain.token_health import (
    ASK_AGAIN,
    CHECK_EVERY,
    DEAD,
    DEBUG_EVERY,
    DOUBT,
    EXPIRING,
    Complaint,
    Finding,
    MetaAnswer,
    NoAnswer,
    NothingSaid,
    TokenHealth,
    TokenState,
    is_suspicious,
    judge,
    needs_debug,
    refusal,
)

NOW = datetime(2026, 11, 26, 12, tzinfo=UTC)
SECOND, DAY = timedelta(seconds=1), timedelta(days=1)
WELL = TokenHealth("valid")
COMPLAINTS: tuple[Complaint, ...] = get_args(Complaint)
STATES: dict[Complaint, TokenState] = {
    "token_revoked": "revoked", "token_expired": "expired", "data_access_ended": "expired",
    "scope_missing": "revoked", "target_missing": "revoked", "subscription_lost": "valid",
}  # fmt: skip


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_a_second_bad_answer_counts_from_the_fifth_minute_on(complaint: Complaint) -> None:
    first = judge(WELL, MetaAnswer(complaint), NOW)
    assert (first.health.state, first.health.reason, first.event) == ("valid", None, None)
    assert (first.health.doubt, first.next_check_at) == (complaint, NOW + DOUBT)

    early = judge(first.health, MetaAnswer(complaint), NOW + DOUBT - SECOND)
    assert (early.health, early.next_check_at) == (first.health, NOW + DOUBT)

    second = judge(first.health, MetaAnswer(complaint), NOW + DOUBT)
    assert (second.health.state, second.health.reason) == (STATES[complaint], complaint)
    assert (second.health.doubt, second.next_check_at) == (None, NOW + DOUBT + CHECK_EVERY)
    is_dead = STATES[complaint] in DEAD
    assert second.event == (f"token_{STATES[complaint]}" if is_dead else None)

    third = judge(second.health, MetaAnswer(complaint), NOW + DAY)
    assert (third.health, third.event) == (second.health, None)

    again = judge(second.health, MetaAnswer(None), NOW + DAY)
    assert again.health == WELL
    assert again.event == ("token_recovered" if is_dead else None)


@pytest.mark.parametrize("complaint", COMPLAINTS)
def test_every_reason_has_a_remedy_of_its_own(complaint: Complaint) -> None:
    found = remedy(complaint)
    assert found is not None
    assert found != remedy("a reason without a remedy")


@pytest.mark.parametrize(
    ("ends", "reason"),
    [("expires_at", "token_expired"), ("data_access_ends_at", "data_access_ended")],
)
def test_an_end_that_meta_told_is_certain_at_its_second(ends: str, reason: Complaint) -> None:
    known = TokenHealth("expiring", told="1", **{ends: NOW})  # type: ignore[arg-type]
    before = judge(known, MetaAnswer(None), NOW - SECOND)
    assert (before.health.state, before.event, before.next_check_at) == ("expiring", None, NOW)
    after = judge(known, MetaAnswer(None), NOW)
    assert (after.health.state, after.health.reason) == ("expired", reason)
    assert after.event == "token_expired"
    unsaid: tuple[Finding, ...] = (NoAnswer(7200), NothingSaid())
    for finding in unsaid:
        assert judge(known, finding, NOW - SECOND).next_check_at == NOW
    away = judge(known, NoAnswer(), NOW)
    assert (away.health, away.event) == (after.health, "token_expired")
    assert away.next_check_at == NOW + ASK_AGAIN
    assert judge(away.health, NoAnswer(), away.next_check_at).event is None


@pytest.mark.parametrize("days", [14, 7, 3, 1])
def test_the_days_left_are_told_once_each(days: int) -> None:
    known = TokenHealth("valid", expires_at=NOW + timedelta(days=days))
    early = judge(known, MetaAnswer(None), NOW - SECOND)
    assert early.health.told != str(days)
    assert early.health.state == ("valid" if days == 14 else "expiring")
    told = judge(early.health, MetaAnswer(None), NOW)
    assert (told.event, told.health.told, told.health.state) == (
        "token_expiring", str(days), "expiring",
    )  # fmt: skip
    assert judge(told.health, MetaAnswer(None), NOW + SECOND).event is None


def test_a_token_is_told_to_end_at_most_five_times() -> None:
    health, now, told = TokenHealth("valid", expires_at=NOW + timedelta(days=60)), NOW, []
    while now < NOW + timedelta(days=70):
        verdict = judge(health, MetaAnswer(None), now)
        health, now = verdict.health, verdict.next_check_at
        if verdict.event is not None:
            told.append(verdict.event)
    assert told == ["token_expiring"] * 4 + ["token_expired"]


def test_what_could_not_be_asked_changes_nothing() -> None:
    doubted = TokenHealth("valid", doubt="token_revoked", bad_since=NOW - DAY)
    verdict = judge(doubted, NoAnswer(), NOW)
    assert (verdict.health, verdict.event, verdict.next_check_at) == (
        doubted,
        None,
        NOW + ASK_AGAIN,
    )
    assert judge(WELL, NoAnswer(7200), NOW).next_check_at == NOW + timedelta(hours=2)


def test_a_refusal_that_says_nothing_of_the_token_is_asked_about_again_in_a_day() -> None:
    verdict = judge(WELL, NothingSaid(), NOW)
    assert (verdict.health, verdict.next_check_at) == (WELL, NOW + CHECK_EVERY)
    ended = replace(WELL, expires_at=NOW)
    assert judge(ended, NothingSaid(), NOW).event == "token_expired"


def test_nothing_but_doubts_follows_while_everybody_turns_bad() -> None:
    suspended = judge(WELL, MetaAnswer("token_revoked"), NOW, is_suspended=True)
    assert (suspended.health.state, suspended.event) == ("valid", None)
    assert suspended.health.doubt == "token_revoked"
    later = judge(suspended.health, MetaAnswer("token_revoked"), NOW + DAY, is_suspended=True)
    assert (later.health, later.event) == (suspended.health, None)
    over = judge(suspended.health, MetaAnswer(None), NOW + DAY)
    assert (over.health, over.event) == (WELL, None)
    dead = TokenHealth("revoked", "token_revoked", told="revoked")
    assert judge(dead, MetaAnswer("token_revoked"), NOW, is_suspended=True).health == dead


def test_what_others_found_is_told_by_the_next_check() -> None:
    found_by_a_step = TokenHealth("revoked")
    assert judge(found_by_a_step, MetaAnswer("token_revoked"), NOW).event == "token_revoked"


findings: st.SearchStrategy[Finding] = st.one_of(
    st.sampled_from([None, *COMPLAINTS]).map(MetaAnswer),
    st.sampled_from([NoAnswer(), NothingSaid()]),
)
steps = st.lists(st.tuples(findings, st.integers(1, 2 * 86_400)), max_size=30)


@given(steps, st.booleans())
def test_no_state_changes_by_one_bad_answer(
    taken: Sequence[tuple[Finding, int]], is_suspended: bool
) -> None:
    health, now, told = WELL, NOW, list[str]()
    bad_at = list[datetime]()
    for finding, seconds in taken:
        now += timedelta(seconds=seconds)
        verdict = judge(health, finding, now, is_suspended=is_suspended)
        assert now < verdict.next_check_at <= now + CHECK_EVERY
        if isinstance(finding, MetaAnswer):
            bad_at = [*bad_at, now] if finding.complaint is not None else []
        if (verdict.health.state, verdict.health.reason) != (health.state, health.reason) and (
            verdict.health.reason is not None
        ):
            assert not is_suspended
            assert len(bad_at) >= 2
            assert bad_at[-1] - bad_at[0] >= DOUBT
        if verdict.event is not None:
            told.append(verdict.event)
        health = verdict.health
    assert not is_suspended or not told
    assert all(a != b for a, b in pairwise(told))


@pytest.mark.parametrize(
    ("checked", "bad", "last", "expected"),
    [
        (219, 11, (), True), (220, 11, (), False), (100, 10, (), False),
        (9, 5, (True,) * 5 + (False,) * 5, True), (9, 4, (True,) * 4 + (False,) * 6, False),
        (3, 2, (True, True, False), True), (3, 1, (True, False, False), False),
        (2, 2, (True, True), False),
    ],
)  # fmt: skip
def test_an_outage_is_told_from_deaths(
    checked: int, bad: int, last: Sequence[bool], expected: bool
) -> None:
    assert is_suspicious(checked, bad, last) is expected


@pytest.mark.parametrize(
    ("code", "subcode", "expected"),
    [
        (190, 460, MetaAnswer("token_revoked")), (190, 463, MetaAnswer("token_expired")),
        (190, 459, MetaAnswer("token_revoked")), (452, None, MetaAnswer("token_revoked")),
        (200, None, MetaAnswer("scope_missing")), (10, None, MetaAnswer("scope_missing")),
        (100, 33, MetaAnswer("target_missing")), (803, None, MetaAnswer("target_missing")),
        (368, None, NothingSaid()), (100, None, NothingSaid()), (2, None, NoAnswer()),
        (None, None, NoAnswer()),
    ],
)  # fmt: skip
def test_what_a_refusal_says(code: int | None, subcode: int | None, expected: Finding) -> None:
    assert refusal(graph_error(code, subcode)) == expected


def test_a_limit_is_waited_for() -> None:
    assert refusal(MetaThrottled(1800, 80008)) == NoAnswer(1800)
    assert refusal(MetaUnavailable("meta_unavailable")) == NoAnswer()


def test_debug_token_is_asked_weekly_near_an_end_and_for_a_refusal() -> None:
    fine, week = MetaAnswer(None), NOW - DEBUG_EVERY
    assert needs_debug(WELL, fine, None, NOW)
    assert needs_debug(WELL, fine, week, NOW)
    assert not needs_debug(WELL, fine, week + SECOND, NOW)
    assert needs_debug(TokenHealth("valid", expires_at=NOW + EXPIRING), fine, NOW, NOW)
    assert not needs_debug(TokenHealth("valid", expires_at=NOW + EXPIRING + SECOND), fine, NOW, NOW)
    assert needs_debug(WELL, MetaAnswer("token_revoked"), NOW, NOW)
    assert not needs_debug(WELL, MetaAnswer("target_missing"), NOW, NOW)
    assert not needs_debug(WELL, NoAnswer(), None, NOW)
