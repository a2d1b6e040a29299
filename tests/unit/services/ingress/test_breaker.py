"""The breaker: closed until a failure, then one trial at a time."""

import pytest

from services.ingress.breaker import OPEN_SECONDS, CircuitBreaker

FAILED_AT = 1000.0
LATER = FAILED_AT + OPEN_SECONDS


@pytest.fixture
def breaker() -> CircuitBreaker:
    """One that has just opened."""
    breaker = CircuitBreaker()
    breaker.failed(FAILED_AT)
    return breaker


def test_a_road_is_open_to_everybody_at_first() -> None:
    breaker = CircuitBreaker()

    assert all(breaker.allows(now) for now in (0.0, 0.0, 5.0))


def test_a_failure_closes_the_road_for_a_while(breaker: CircuitBreaker) -> None:
    assert not breaker.allows(FAILED_AT)
    assert not breaker.allows(LATER - 0.001)


def test_then_one_may_try_and_nobody_else_meanwhile(breaker: CircuitBreaker) -> None:
    assert breaker.allows(LATER)
    assert not breaker.allows(LATER)
    assert not breaker.allows(LATER + 3600)


def test_a_trial_that_succeeds_opens_the_road_to_everybody(breaker: CircuitBreaker) -> None:
    breaker.allows(LATER)

    breaker.succeeded()

    assert breaker.allows(LATER)
    assert breaker.allows(LATER)


def test_a_trial_that_fails_closes_it_again_for_as_long(breaker: CircuitBreaker) -> None:
    breaker.allows(LATER)

    breaker.failed(LATER + 0.5)

    assert not breaker.allows(LATER + 0.5 + OPEN_SECONDS - 0.001)
    assert breaker.allows(LATER + 0.5 + OPEN_SECONDS)
    assert not breaker.allows(LATER + 0.5 + OPEN_SECONDS)


def test_a_late_success_of_an_older_bundle_opens_the_road(breaker: CircuitBreaker) -> None:
    breaker.succeeded()

    assert breaker.allows(FAILED_AT)
