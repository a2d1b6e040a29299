"""Meta's usage headers, whatever is in them."""

from hypothesis import given
from hypothesis import strategies as st

from shared.graph.usage import (
    APP_USAGE,
    BUSINESS_USAGE,
    MAX_PAUSE_SECONDS,
    PAUSE_SECONDS,
    Usage,
)


def rests(headers: dict[str, str], place: str = "71") -> tuple[float, float]:
    """How long calls of that place rest, and those of any other."""
    usage = Usage()
    usage.note(headers, place, 0.0)
    return usage.seconds_left(place, 0.0), usage.seconds_left("another", 0.0)


def test_the_apps_usage_rests_everybody_a_businesss_only_its_own() -> None:
    assert rests({APP_USAGE: '{"call_count": 89, "total_time": 90}'}) == (PAUSE_SECONDS,) * 2
    assert rests({APP_USAGE: '{"call_count": 89}'}) == (0, 0)
    business = '{"9": [{"call_count": 10}, {"total_cputime": 91}]}'
    assert rests({BUSINESS_USAGE: business}) == (PAUSE_SECONDS, 0)


def test_the_time_meta_names_holds_within_reason() -> None:
    told = '{"9": [{"call_count": 100, "estimated_time_to_regain_access": %s}]}'
    assert rests({BUSINESS_USAGE: told % 7}) == (420, 0)
    assert rests({BUSINESS_USAGE: told % 1e307}) == (MAX_PAUSE_SECONDS, 0)


@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(str))
def test_nothing_in_a_header_breaks_it(header: str) -> None:
    rests({APP_USAGE: header, BUSINESS_USAGE: header})
