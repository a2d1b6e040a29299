"""Limit the requests of a caller in a sliding minute, in this process."""

from hypothesis import given
from hypothesis import strategies as st

from shared.limits import MAX_CALLERS, WINDOW_SECONDS, Limit, SlidingWindow

#: Whole seconds: other fractions round one way in the test and the other in the window.
SECONDS = st.integers(0, 150).map(float)


@given(st.lists(SECONDS, max_size=60).map(sorted), st.integers(1, 5))
def test_no_minute_has_more_calls_than_the_limit(times: list[float], limit: int) -> None:
    window, at_most = SlidingWindow(), Limit("address", limit)
    allowed = [at for at in times if window.seconds_left(at_most, "ana", at) == 0]
    for at in allowed:
        assert len([t for t in allowed if at - WINDOW_SECONDS < t <= at]) <= limit


def test_a_caller_that_waits_as_long_as_required_is_allowed() -> None:
    window, two = SlidingWindow(), Limit("address", 2)
    assert [window.seconds_left(two, "ana", at) for at in (0.0, 10.0)] == [0, 0]
    left = window.seconds_left(two, "ana", 30.0)
    assert left == 30
    assert window.seconds_left(two, "ana", 30.0 + left) == 0
    # The call at 10 still counts, the call at 0 does not.
    assert window.seconds_left(two, "ana", 65.0) == 5
    assert window.seconds_left(two, "ana", 71.0) == 0
    assert window.seconds_left(two, "bia", 31.0) == 0


def test_the_number_of_remembered_callers_is_bounded() -> None:
    window, one = SlidingWindow(), Limit("address", 1)
    for n in range(MAX_CALLERS + 1):
        window.seconds_left(one, str(n), 0.0)
    assert window.seconds_left(one, "0", 1.0) == 0  # forgotten
    assert window.seconds_left(one, str(MAX_CALLERS), 1.0) > 0


def test_who_comes_no_more_is_forgotten_within_a_minute() -> None:
    window, many = SlidingWindow(), Limit("address", 1000)
    for caller in range(100):
        for _ in range(10):
            window.seconds_left(many, str(caller), 0.0)
    window.seconds_left(many, "ana", WINDOW_SECONDS)
    assert len(window._times) == 1
