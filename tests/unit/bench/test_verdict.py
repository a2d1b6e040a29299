"""The guard reports only a change that is larger than chance makes it."""

from collections.abc import Mapping, Sequence

import pytest

from bench.verdict import MIN_RESOLUTION, Compared, compare


def compared(*now: float, name: str = "cpu") -> Compared:
    """Return the comparison of runs, before each of which 100 was measured."""
    [figure] = compare([{name: 100.0}] * len(now), [{name: value} for value in now])
    return figure


def test_the_change_is_that_of_runs_made_in_turn() -> None:
    slower_by_the_minute = (100.0, 150.0, 200.0)

    [figure] = compare(
        [{"cpu": value} for value in slower_by_the_minute],
        [{"cpu": value * 1.02} for value in slower_by_the_minute],
    )

    assert (figure.before, figure.now) == (150.0, 153.0)
    assert figure.change == pytest.approx(0.02)
    assert figure.verdict == "MORE EXPENSIVE"


@pytest.mark.parametrize(
    ("now", "verdict"),
    [
        ((100.0, 100.0, 100.0, 100.0), "the same"),
        ((100.9, 100.9, 100.9, 100.9), "the same"),
        ((101.1, 101.1, 101.1, 101.1), "MORE EXPENSIVE"),
        ((98.9, 98.9, 98.9, 98.9), "cheaper"),
        # The resolution of six runs that differ by 2 % from their mean is 3.6 %.
        ((101.5, 105.5) * 3, "the same"),
        ((101.7, 105.7) * 3, "MORE EXPENSIVE"),
        ((94.5, 98.5) * 3, "the same"),
        ((94.3, 98.3) * 3, "cheaper"),
        # Of two, that differ as much, it is 127 %.
        ((101.7, 105.7), "CANNOT TELL"),
    ],
)
def test_only_a_change_past_the_resolution_is_a_verdict(now: Sequence[float], verdict: str) -> None:
    assert compared(*now).verdict == verdict


def test_equal_runs_still_leave_room_for_chance() -> None:
    assert compared(100.0, 100.0).resolution == MIN_RESOLUTION


def test_runs_that_differ_too_much_tell_nothing_but_a_large_rise() -> None:
    assert compared(90.0, 110.0, 100.0, 100.0).verdict == "CANNOT TELL"
    assert compared(130.0, 150.0, 140.0, 140.0).verdict == "MORE EXPENSIVE"


@pytest.mark.parametrize("now", [{"cpu": 1.0, "wal": 1.0}, {}])
def test_a_figure_of_one_version_only_does_not_pass(now: Mapping[str, float]) -> None:
    with pytest.raises(KeyError, match=r"wal|cpu"):
        compare([{"cpu": 1.0}] * 2, [now] * 2)


def test_fewer_events_are_no_saving() -> None:
    assert compared(50.0, 50.0, name="processor: events").verdict == "MORE EXPENSIVE"


def test_a_figure_of_zero_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="cpu"):
        compared(0.0, 0.0)
