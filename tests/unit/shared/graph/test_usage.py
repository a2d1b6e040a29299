"""Read Meta's usage headers, whatever they contain."""

from hypothesis import given
from hypothesis import strategies as st

from shared.graph.usage import (
    APP_USAGE,
    BUSINESS_USAGE,
    MAX_PAUSE_SECONDS,
    PAUSE_SECONDS,
    Usage,
)


def pauses(headers: dict[str, str], place: str = "71") -> tuple[float, float]:
    """Return how many seconds the calls of `place` pause, and those of any other place."""
    usage = Usage()
    usage.record(headers, place, 0.0)
    return usage.seconds_left(place, 0.0), usage.seconds_left("another", 0.0)


def test_the_apps_usage_pauses_every_call_and_a_businesss_only_its_own() -> None:
    assert pauses({APP_USAGE: '{"call_count": 89, "total_time": 90}'}) == (PAUSE_SECONDS,) * 2
    assert pauses({APP_USAGE: '{"call_count": 89}'}) == (0, 0)
    business = '{"9": [{"call_count": 10}, {"total_cputime": 91}]}'
    assert pauses({BUSINESS_USAGE: business}) == (PAUSE_SECONDS, 0)


def test_the_pause_meta_asks_for_is_used_up_to_a_limit() -> None:
    usage = '{"9": [{"call_count": 100, "estimated_time_to_regain_access": %s}]}'
    assert pauses({BUSINESS_USAGE: usage % 7}) == (420, 0)
    assert pauses({BUSINESS_USAGE: usage % 1e307}) == (MAX_PAUSE_SECONDS, 0)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_no_header_makes_it_fail(header: str) -> None:
    pauses({APP_USAGE: header, BUSINESS_USAGE: header})
