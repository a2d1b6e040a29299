"""Limit the calls in a sliding minute, and the calls at the same time."""

from hypothesis import given
from hypothesis import strategies as st

from services.console.http import limits
from services.console.http.limits import AT_ONCE, WINDOW_SECONDS, ConcurrencyLimit, SlidingWindow

#: Whole seconds: other fractions round one way in the test and the other in the window.
SECONDS = st.integers(0, 150).map(float)


@given(st.lists(SECONDS, max_size=60).map(sorted), st.integers(1, 5))
def test_no_minute_has_more_calls_than_the_limit(times: list[float], limit: int) -> None:
    window = SlidingWindow(limit)
    allowed = [at for at in times if window.seconds_left("ana", at) == 0]
    for at in allowed:
        assert len([t for t in allowed if at - WINDOW_SECONDS < t <= at]) <= limit


def test_a_caller_that_waits_as_long_as_required_is_allowed() -> None:
    window = SlidingWindow(2)
    assert [window.seconds_left("ana", at) for at in (0.0, 10.0)] == [0, 0]
    left = window.seconds_left("ana", 30.0)
    assert left == 30
    assert window.seconds_left("ana", 30.0 + left) == 0
    # The call at 10 still counts, the call at 0 does not.
    assert window.seconds_left("ana", 65.0) == 5
    assert window.seconds_left("ana", 71.0) == 0
    assert window.seconds_left("bia", 31.0) == 0


def test_the_number_of_remembered_callers_is_bounded() -> None:
    window = SlidingWindow(1)
    for n in range(limits.MAX_KNOWN + 1):
        window.seconds_left(str(n), 0.0)
    assert window.seconds_left("0", 1.0) == 0  # forgotten
    assert window.seconds_left(str(limits.MAX_KNOWN), 1.0) > 0


def test_no_more_than_the_limit_at_the_same_time() -> None:
    at_once = ConcurrencyLimit()
    rooms = [at_once.admit("ana") for _ in range(AT_ONCE + 1)]
    assert [admit.__enter__() for admit in rooms] == [True] * AT_ONCE + [False]
    with at_once.admit("bia") as has_room:
        assert has_room
    rooms[-1].__exit__(None, None, None)
    rooms[0].__exit__(None, None, None)
    with at_once.admit("ana") as has_room:
        assert has_room
