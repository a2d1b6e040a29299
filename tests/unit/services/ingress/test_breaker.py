"""The circuit breaker is closed until a failure. Then it allows one trial at a time."""

import pytest

from services.ingress.sinks import OPEN_SECONDS, CircuitBreaker

FAILED_AT = 1000.0
LATER = FAILED_AT + OPEN_SECONDS


@pytest.fixture
def breaker() -> CircuitBreaker:
    """Return a breaker that opened at FAILED_AT."""
    breaker = CircuitBreaker()
    breaker.failed(FAILED_AT)
    return breaker


def test_a_new_breaker_allows_every_webhook() -> None:
    breaker = CircuitBreaker()

    assert all(breaker.allows(now) for now in (0.0, 0.0, 5.0))


def test_a_failure_opens_the_breaker_for_a_while(breaker: CircuitBreaker) -> None:
    assert not breaker.allows(FAILED_AT)
    assert not breaker.allows(LATER - 0.001)


def test_then_only_one_trial_is_allowed_at_a_time(breaker: CircuitBreaker) -> None:
    assert breaker.allows(LATER)
    assert not breaker.allows(LATER)
    assert not breaker.allows(LATER + 3600)


def test_a_trial_that_succeeds_closes_the_breaker(breaker: CircuitBreaker) -> None:
    breaker.allows(LATER)

    breaker.succeeded()

    assert breaker.allows(LATER)
    assert breaker.allows(LATER)


def test_a_trial_that_fails_opens_the_breaker_for_as_long_again(breaker: CircuitBreaker) -> None:
    breaker.allows(LATER)

    breaker.failed(LATER + 0.5)

    assert not breaker.allows(LATER + 0.5 + OPEN_SECONDS - 0.001)
    assert breaker.allows(LATER + 0.5 + OPEN_SECONDS)
    assert not breaker.allows(LATER + 0.5 + OPEN_SECONDS)


def test_a_late_success_of_an_older_bundle_closes_the_breaker(breaker: CircuitBreaker) -> None:
    breaker.succeeded()

    assert breaker.allows(FAILED_AT)
